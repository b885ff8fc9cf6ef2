-- room_leave: take a session out of a room, tell it, and forget a room that is empty and was never written in. A game
-- that it was there for is told behind which message it left.
-- KEYS     1 meta   2 log   3 members   4 access   5 game   6... the session's remembered ids here
-- ARGV     1 channel   2 sid   3 seconds to remember its ids ("0": the session ended)   4 why, in a word   then its devices
-- RETURNS  members left; -1 when the room is forgotten
local member = member_of(redis.call('HGET', KEYS[3], ARGV[2]))
if redis.call('EXISTS', KEYS[5]) == 1 and redis.call('HEXISTS', KEYS[4], 'p:' .. ARGV[2]) == 1 then
  local order = redis.call('HINCRBY', KEYS[5], 'leaves', 1)
  redis.call('HSETNX', KEYS[5], 'l:' .. ARGV[2], (redis.call('HGET', KEYS[1], 'seq') or '0') .. ' ' .. int(order) .. ' ' .. ARGV[4])
end
local gone = {'i:' .. ARGV[2], 'm:' .. ARGV[2]}
for i = 5, #ARGV do gone[#gone + 1] = 'g:' .. ARGV[2] .. '/' .. ARGV[i] end
if ARGV[3] == '0' then
  for _, kind in ipairs({'o:', 'r:', 'b:@', 'p:', 'd:'}) do gone[#gone + 1] = kind .. ARGV[2] end
end
if redis.call('HDEL', KEYS[4], unpack(gone)) > 0 then change_access(KEYS[1]) end
for i = 6, #KEYS do
  if ARGV[3] == '0' then redis.call('DEL', KEYS[i]) else redis.call('EXPIRE', KEYS[i], ARGV[3]) end
end
if member then
  redis.call('HDEL', KEYS[3], ARGV[2])
  tell_presence(ARGV[1], KEYS[3], ARGV[2], member.version, member.nick, 'gone')
end
local left = redis.call('HLEN', KEYS[3])
if left == 0 and (redis.call('HGET', KEYS[1], 'seq') or '0') == '0' and redis.call('EXISTS', KEYS[1]) == 1
    and redis.call('HEXISTS', KEYS[1], 'locked') == 0 then
  local kept = redis.call('HGETALL', KEYS[4])
  for i = 1, #kept, 2 do
    local kind = string.sub(kept[i], 1, 2)
    if (kind == 'b:' or kind == 's:') and sanction(kept[i + 1], now_ms()) then return 0 end
  end
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
  return -1
end
return left
