-- session_detach: a device's connection ended without a goodbye; `away` when it was the last one.
-- KEYS 1 rec 2 devices 3 rooms 4 tell   ARGV 1 device 2 gen   RETURNS {code or "", changed?, alive-worthy devices left?}
local code = fenced(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if code then return {code, 0} end
redis.call('HSET', KEYS[2], 'w:' .. ARGV[1], '')
if connected(KEYS[2]) or redis.call('HGET', KEYS[1], 'state') ~= 'online' then return {'', 0} end
change_state(KEYS[1], KEYS[3], KEYS[4], 'away', now_ms())
return {'', 1}
