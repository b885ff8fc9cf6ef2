-- file_open: the record of a file that somebody wants to send. Opening it again with the same `what` changes nothing.
-- KEYS     1 file
-- ARGV     1 what (digest of all that was asked)   2 ms until it is given up   then pairs: field, value
-- RETURNS  1 opened   2 it is there already   0 the id is that of another file
local what = redis.call('HGET', KEYS[1], 'what')
if what then return what == ARGV[1] and 2 or 0 end
local now = now_ms()
redis.call('HSET', KEYS[1], 'state', 'open', 'what', ARGV[1], 'offset', 0, 'fence', 0, 'created', int(now), 'due', int(now + ARGV[2]))
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
