-- quota_set: let a file count for so many bytes (0: for none), if the sum stays within the limit. Repeats safely.
-- KEYS     1 hash: f:ID bytes, total   ARGV 1 file 2 bytes 3 limit
-- RETURNS  1 done   0 it would be too much
local old = tonumber(redis.call('HGET', KEYS[1], 'f:' .. ARGV[1]) or '0')
local total = tonumber(redis.call('HGET', KEYS[1], 'total') or '0')
local more = tonumber(ARGV[2]) - old
if more > 0 and total + more > tonumber(ARGV[3]) then return 0 end
if ARGV[2] == '0' then redis.call('HDEL', KEYS[1], 'f:' .. ARGV[1])
else redis.call('HSET', KEYS[1], 'f:' .. ARGV[1], ARGV[2]) end
if total + more == 0 then redis.call('DEL', KEYS[1]) else redis.call('HSET', KEYS[1], 'total', int(total + more)) end
return 1
