-- room_join: put a session into a room (again: only mends). The first ever to join a room but #lobby moderates it.
-- KEYS     1 meta   2 log   3 members   4 access   5... the session's remembered ids here
-- ARGV     1 channel   2 candidate epoch   3 sid   4 version   5 state   6 nick   7 chat-wide mute ("" none)   8 "1": may create moderators
--          9 "1": an admin   then pairs: device, gen
-- RETURNS  {1, epoch, seq, mid, created, already}   or {0, code, until_ms, reason}
local meta, members, access, sid, nick = KEYS[1], KEYS[3], KEYS[4], ARGV[3], ARGV[6]
local now = now_ms()
local already = redis.call('HEXISTS', members, sid) == 1 and redis.call('HEXISTS', access, 'i:' .. sid) == 1
local a = redis.call('HMGET', access, 'b:' .. nick, 's:' .. nick, 'm:' .. sid, 'b:@' .. sid)
if not already and ARGV[9] ~= '1' then
  local ends, reason = sanction(a[1], now)
  if not ends then ends, reason = sanction(a[4], now) end
  if ends then return {0, 'banned', ends, reason} end
  local locked = redis.call('HGET', meta, 'locked')
  if locked and redis.call('HEXISTS', access, 'p:' .. sid) == 0 then return {0, 'locked', '', locked} end
end
local created = redis.call('EXISTS', KEYS[2], members) == 0 and redis.call('HEXISTS', meta, 'created') == 0
local head = log_head(meta, KEYS[2], ARGV[1], ARGV[2])
if created then
  redis.call('HSET', meta, 'created', int(now))
  if ARGV[8] == '1' then redis.call('HSET', access, 'o:' .. sid, '1') end
end
redis.call('PERSIST', meta)
redis.call('HSET', access, 'i:' .. sid, '1')
for i = 10, #ARGV, 2 do fence(access, sid, ARGV[i], ARGV[i + 1]) end
change_access(meta)
if ARGV[7] ~= '' and newer(a[3], ARGV[7]) then redis.call('HSET', access, 'm:' .. sid, ARGV[7]) end
if sanction(a[2], now) then redis.call('HSET', access, 'r:' .. sid, a[2]) end
for i = 5, #KEYS do redis.call('PERSIST', KEYS[i]) end
put_member(ARGV[1], members, sid, ARGV[4], ARGV[5], nick)
return {1, head.epoch, int(head.seq), head.mid, created and 1 or 0, already and 1 or 0}
