-- session_join: put a room on the session's list. Its mute is read in the same step, and a suspension writes the mute and reads the
-- list in one step, so one of the two always sees the other.
-- KEYS 1 rec 2 devices 3 rooms   ARGV 1 device 2 gen 3 room 4 most rooms
-- RETURNS  {1, nick, version, state, mute, already?, device, gen, device, gen...}   or {0, code, until_ms, reason}
local code = fenced(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if code then return {0, code, '', ''} end
local r = redis.call('HMGET', KEYS[1], 'nick', 'version', 'state', 'mute')
local already = redis.call('HEXISTS', KEYS[3], ARGV[3])
if already == 0 and redis.call('HLEN', KEYS[3]) >= tonumber(ARGV[4]) then
  return {0, 'denied', '', 'a session is in at most ' .. ARGV[4] .. ' rooms'}
end
redis.call('HSET', KEYS[3], ARGV[3], '1')
local out = {1, r[1], r[2], r[3], r[4] or '', already}
for _, device in ipairs(device_names(KEYS[2])) do
  out[#out + 1], out[#out + 2] = device, redis.call('HGET', KEYS[2], 'g:' .. device)
end
return out
