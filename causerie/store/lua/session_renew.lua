-- session_renew: heartbeats of devices, each of a session of its own (in a Cluster one a call: a script sees one slot).
-- KEYS     for each: rec  alive  devices  rooms  tell  pending
-- ARGV     for each: device  gen  ttl ms
-- RETURNS  for each: {1, back from crashed?, is something left to tell or to deliver?}   or {0, code}
local function renew(rec, alive, devices, rooms, tell, pending, device, gen, ttl)
  local code, state = fenced(rec, devices, device, gen)
  if code then return {0, code} end
  keep_alive(alive, ttl)
  local back = state ~= 'online' and 1 or 0
  if back == 1 then change_state(rec, rooms, tell, 'online', now_ms()) end
  return {1, back, redis.call('EXISTS', tell, pending)}
end

local out = {}
for n = 1, #ARGV / 3 do
  local k, a = 6 * n - 5, 3 * n - 2
  out[n] = renew(KEYS[k], KEYS[k + 1], KEYS[k + 2], KEYS[k + 3], KEYS[k + 4], KEYS[k + 5], ARGV[a], ARGV[a + 1], ARGV[a + 2])
end
return out
