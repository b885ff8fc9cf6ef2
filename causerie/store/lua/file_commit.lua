-- file_commit: a part lies in the object store and counts from now on. The last part may be short, and be replaced by a longer one.
-- A writer that slept for longer than the lease is refused: what it wrote may have been swept away.
-- KEYS     1 file   2 parts
-- ARGV     1 fence   2 old offset   3 new offset   4 index of the part   5 its name   6 lease ms   7 ms until the upload is given up
-- RETURNS  {1, name of the part that it replaces or ""}   {0} refused
local f = redis.call('HMGET', KEYS[1], 'state', 'fence', 'offset', 'at')
local now = now_ms()
if f[1] ~= 'open' or f[2] ~= ARGV[1] or f[3] ~= ARGV[2] or now - tonumber(f[4]) > tonumber(ARGV[6]) then return {0} end
local replaced = redis.call('LINDEX', KEYS[2], ARGV[4]) or ''
if replaced ~= '' then redis.call('LSET', KEYS[2], ARGV[4], ARGV[5]) else redis.call('RPUSH', KEYS[2], ARGV[5]) end
redis.call('HSET', KEYS[1], 'offset', ARGV[3], 'at', int(now), 'due', int(now + ARGV[7]))
return {1, replaced}
