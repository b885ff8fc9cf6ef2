-- session_mute: write a chat-wide suspension (or its end) to a session; the higher version wins. See session_join for the race.
-- KEYS 1 rec 2 rooms   ARGV 1 channel 2 "version until_ms reason"   RETURNS its rooms
if redis.call('HEXISTS', KEYS[1], 'nick') == 0 then return {} end
if newer(redis.call('HGET', KEYS[1], 'mute'), ARGV[2]) then
  redis.call('HSET', KEYS[1], 'mute', ARGV[2])
  note(ARGV[1], {what = 'mute', value = ARGV[2]})
end
return redis.call('HKEYS', KEYS[2])
