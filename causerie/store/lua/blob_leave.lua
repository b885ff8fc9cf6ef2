-- blob_leave: a file needs its bytes no longer. When its home leaves as the last, the bytes are given up.
-- KEYS     1 blob   ARGV 1 file
-- RETURNS  {home or "", files that still need the bytes}
local home = redis.call('HGET', KEYS[1], 'home')
if not home then return {'', 0} end
redis.call('HDEL', KEYS[1], 'f:' .. ARGV[1])
local left = redis.call('HLEN', KEYS[1]) - 1
if left == 0 and home == ARGV[1] then redis.call('DEL', KEYS[1]) end
return {home, left}
