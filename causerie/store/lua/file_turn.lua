-- file_turn: bring a file from one state to the next (open, whole, sent, gone); of many who try, one does.
-- KEYS     1 file
-- ARGV     1 from   2 to   3 ms until it is due ("" as it was)   4 "1": only if it is due   then pairs: field, value
-- RETURNS  1 turned   0 it was not there
local f = redis.call('HMGET', KEYS[1], 'state', 'due')
local now = now_ms()
if f[1] ~= ARGV[1] or (ARGV[4] == '1' and tonumber(f[2]) > now) then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[2])
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'due', int(now + ARGV[3])) end
for i = 5, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
