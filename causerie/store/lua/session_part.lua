-- session_part: strike a room from the session's list (before it is left, so that nothing puts it back) and tell its connections.
-- KEYS 1 rec 2 devices 3 rooms 4 tell   ARGV 1 channel 2 room 3 reason 4 device that asked 5 its gen (0: done to it)
-- RETURNS  {1, was on the list?, device...}   or {0, code}
if ARGV[5] ~= '0' then
  local code = fenced(KEYS[1], KEYS[2], ARGV[4], ARGV[5])
  if code then return {0, code} end
end
local out = {1, redis.call('HDEL', KEYS[3], ARGV[2])}
redis.call('HDEL', KEYS[4], ARGV[2])
note(ARGV[1], {what = 'leave', room = ARGV[2], reason = ARGV[3], device = ARGV[4], gen = tonumber(ARGV[5])})
for _, device in ipairs(device_names(KEYS[2])) do out[#out + 1] = device end
return out
