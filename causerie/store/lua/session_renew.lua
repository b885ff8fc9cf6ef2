-- session_renew: the heartbeat of one device of a session.
-- KEYS 1 rec 2 alive 3 devices 4 rooms 5 tell 6 pending   ARGV 1 device 2 gen 3 ttl ms
-- RETURNS  {1, back from crashed?, rooms still to tell, direct messages still to deliver}   or {0, code}
local code = fenced(KEYS[1], KEYS[3], ARGV[1], ARGV[2])
if code then return {0, code} end
keep_alive(KEYS[2], ARGV[3])
local back = 0
if redis.call('HGET', KEYS[1], 'state') ~= 'online' then
  change_state(KEYS[1], KEYS[4], KEYS[5], 'online', now_ms())
  back = 1
end
return {1, back, redis.call('HLEN', KEYS[5]), redis.call('HLEN', KEYS[6])}
