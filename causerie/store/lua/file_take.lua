-- file_take: begin to write at an offset. Whoever wrote before is fenced off: nothing more of it counts.
-- KEYS     1 file   2 parts
-- ARGV     1 offset   2 ms until the upload is given up
-- RETURNS  {1, fence, name of the last part or ""}   {0, state, offset} it is not open, or stands elsewhere
local f = redis.call('HMGET', KEYS[1], 'state', 'offset')
if f[1] ~= 'open' or f[2] ~= ARGV[1] then return {0, f[1] or '', f[2] or '0'} end
local now = now_ms()
redis.call('HSET', KEYS[1], 'at', int(now), 'due', int(now + ARGV[2]))
return {1, redis.call('HINCRBY', KEYS[1], 'fence', 1), redis.call('LINDEX', KEYS[2], -1) or ''}
