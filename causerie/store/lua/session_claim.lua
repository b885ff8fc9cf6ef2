-- session_claim: a worker looks at a session whose time has come. Exactly one of many workers gets each change.
-- KEYS     1 rec   2 alive   3 devices   4 rooms   5 tell   6 pending
-- ARGV     1 session TTL ms   2 the store's clock when the worker saw it alive, ms   3 how old that may be, ms
-- RETURNS  {"late"} the store was away in between: nothing is decided   {"none"} no such session   {"ended"} clean it up   {"alive", ms} look again then   {"crashed", ms} just now; look again then
--          {"waiting", ms, rooms to tell, messages to deliver}
local r = redis.call('HMGET', KEYS[1], 'nick', 'ended', 'state', 'since', 'heard')
if not r[1] then return {'none'} end
if r[2] then return {'ended'} end
local left = redis.call('PTTL', KEYS[2])
if left > 0 then return {'alive', left} end
local now = now_ms()
if now - tonumber(ARGV[2]) > tonumber(ARGV[3]) then return {'late'} end
if r[5] ~= '1' then
  redis.call('HSET', KEYS[1], 'ended', 'dropped')
  return {'ended'}
end
if r[3] ~= 'crashed' then
  for _, device in ipairs(device_names(KEYS[3])) do redis.call('HSET', KEYS[3], 'w:' .. device, '') end
  change_state(KEYS[1], KEYS[4], KEYS[5], 'crashed', now)
  return {'crashed', tonumber(ARGV[1])}
end
local wait = tonumber(r[4]) + tonumber(ARGV[1]) - now
if wait <= 0 then
  redis.call('HSET', KEYS[1], 'ended', 'expired')
  return {'ended'}
end
return {'waiting', wait, redis.call('HLEN', KEYS[5]), redis.call('HLEN', KEYS[6])}
