-- room_voice: whether a session may speak in a room now. Decides nothing for later: the append asks again.
-- KEYS 1 access   ARGV 1 sid   RETURNS {1} or {0, code, until_ms, reason}
local a = redis.call('HMGET', KEYS[1], 'i:' .. ARGV[1], 'm:' .. ARGV[1], 'r:' .. ARGV[1], 'd:' .. ARGV[1])
return silenced(a[1], a[2], a[3], a[4], now_ms()) or {1}
