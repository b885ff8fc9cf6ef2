-- session_evict: may somebody new take this session's nick? Yes if it is over, or crashed for longer than the nick's TTL (then it ends).
-- KEYS 1 rec   ARGV 1 nick TTL ms   RETURNS 1 yes, 0 no
local r = redis.call('HMGET', KEYS[1], 'nick', 'ended', 'state', 'since')
if not r[1] or r[2] then return 1 end
if r[3] ~= 'crashed' or now_ms() - tonumber(r[4]) < tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'ended', 'evicted')
return 1
