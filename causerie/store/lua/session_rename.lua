-- session_rename: the session's nick is now another; the lease of the new one is already held.
-- KEYS 1 rec 2 devices 3 rooms 4 tell   ARGV 1 channel 2 device 3 gen 4 new nick
-- RETURNS  {1, old nick, version}   or {0, code, until_ms, reason}
local code = fenced(KEYS[1], KEYS[2], ARGV[2], ARGV[3])
if code then return {0, code} end
local r = redis.call('HMGET', KEYS[1], 'nick', 'mute')
local ends, reason = sanction(r[2], now_ms())
if ends then return {0, 'suspended', ends, reason} end
redis.call('HSET', KEYS[1], 'nick', ARGV[4])
local version = raise(KEYS[1], 'version')
tell_all(KEYS[3], KEYS[4], version)
note(ARGV[1], {what = 'nick', nick = ARGV[4], version = version})
return {1, r[1], version}
