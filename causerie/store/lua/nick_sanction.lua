-- nick_sanction: write a sanction on a nick; the version is the store's clock in microseconds and always rises.
-- KEYS 1 lease 2 sanctions   ARGV 1 "ban" or "suspend" 2 until_ms (0 endless, 1 forgiven) 3 reason 4 only if one is in force
-- RETURNS  {"version until_ms reason", holder or "", was one in force?}
local t, old = redis.call('TIME'), redis.call('HGET', KEYS[2], ARGV[1])
local version = t[1] * 1000000 + t[2]
if old then version = math.max(version, tonumber(string.match(old, '^%d+')) + 1) end
local value, active = string.format('%.0f', version) .. ' ' .. ARGV[2] .. ' ' .. ARGV[3], sanction(old, now_ms()) and 1 or 0
redis.call('HSET', KEYS[2], ARGV[1], value)
return {value, redis.call('GET', KEYS[1]) or '', active}
