-- nick_lease: take a nick's lease for a session, unless the nick is banned or another holds it.
-- KEYS     1 lease   2 sanctions
-- ARGV     1 sid   2 holder that may be overtaken ("" nobody)   3 "1": a suspended nick is refused too (renaming)
-- RETURNS  {1, suspension or ""}   or {0, code, until_ms or holder, reason}
local now = now_ms()
local s = redis.call('HMGET', KEYS[2], 'ban', 'suspend')
local ends, reason = sanction(s[1], now)
if ends then return {0, 'banned', ends, reason} end
ends, reason = sanction(s[2], now)
if ends and ARGV[3] == '1' then return {0, 'suspended', ends, reason} end
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] and holder ~= ARGV[2] then return {0, 'nick_taken', holder, ''} end
redis.call('SET', KEYS[1], ARGV[1])
return {1, ends and s[2] or ''}
