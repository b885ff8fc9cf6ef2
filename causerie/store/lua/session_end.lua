-- session_end: the session is over (quit, kicked, banned). From here on every write of it is refused; the rest is clean-up.
-- KEYS 1 rec 2 alive 3 devices   ARGV 1 channel 2 code 3 text 4 device to spare from the note 5 its gen
-- RETURNS  1 ended now, 0 it was over already
local r = redis.call('HMGET', KEYS[1], 'nick', 'ended')
if not r[1] or r[2] then return 0 end
redis.call('HSET', KEYS[1], 'ended', ARGV[2])
redis.call('DEL', KEYS[2])
note(ARGV[1], {what = 'bye', code = ARGV[2], text = ARGV[3], device = ARGV[4], gen = tonumber(ARGV[5])})
return 1
