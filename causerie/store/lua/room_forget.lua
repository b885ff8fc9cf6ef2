-- room_forget: delete a room that has been empty and silent for long.
-- KEYS 1 meta 2 log 3 members 4 access 5 score 6 game 7 letters   ARGV 1 silent since before, ms   RETURNS 1 when deleted
if redis.call('HLEN', KEYS[3]) > 0 or redis.call('EXISTS', KEYS[6], KEYS[7]) > 0 then return 0 end
local m = redis.call('HMGET', KEYS[1], 'ts', 'created', 'locked')
if m[3] or tonumber(m[1] or '0') > tonumber(ARGV[1]) or tonumber(m[2] or '0') > tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
return 1
