-- session_attach: a device comes (back). Raises the generation, so whatever an older connection of it still writes is refused.
-- KEYS     1 rec   2 alive   3 devices   4 rooms   5 tell   6 pos   7 meta   8 log
-- ARGV     1 channel   2 candidate epoch   3 device   4 gateway   5 ttl ms   6 most devices   7 address
-- RETURNS  {1, nick, version, state, gen, admin, mute, current room, rooms, {pos field, value...}, epoch, seq, mid,
--          may an older connection of the device stand, here or at another gateway?, ms of now, is something to be told to rooms?}
--          or {0, code, text}
local rec, devices, device = KEYS[1], KEYS[3], ARGV[3]
local r = redis.call('HMGET', rec, 'nick', 'ended', 'state', 'admin', 'mute')
if not r[1] or r[2] then return {0, 'bad_cookie', 'no session has this cookie'} end
local now = now_ms()
if redis.call('HEXISTS', devices, 'g:' .. device) == 0 then
  local names = device_names(devices)
  if #names >= tonumber(ARGV[6]) then
    local oldest, name
    for _, other in ipairs(names) do
      local d = redis.call('HMGET', devices, 'w:' .. other, 't:' .. other)
      if (d[1] or '') == '' and (not oldest or tonumber(d[2] or '0') < oldest) then oldest, name = tonumber(d[2] or '0'), other end
    end
    if not name then return {0, 'denied', 'a session has at most ' .. ARGV[6] .. ' devices'} end
    redis.call('HDEL', devices, 'g:' .. name, 'w:' .. name, 't:' .. name, 'c:' .. name)
  end
end
local gen, before = raise(rec, 'gen'), redis.call('HGET', devices, 'w:' .. device) or ''
redis.call('HSET', devices, 'g:' .. device, int(gen), 'w:' .. device, ARGV[4], 't:' .. device, int(now))
redis.call('HSET', rec, 'address', ARGV[7], 'heard', '1') -- whoever comes back was welcomed once
keep_alive(KEYS[2], ARGV[5])
if r[3] ~= 'online' then change_state(rec, KEYS[4], KEYS[5], 'online', now) end
local hear = note(ARGV[1], {what = 'attach', device = device, gen = gen, gateway = ARGV[4]}) -- this gateway among them
local held = before ~= '' and (before == ARGV[4] or hear > 1)
local h = log_head(KEYS[7], KEYS[8], ARGV[1], ARGV[2])
local v = redis.call('HMGET', rec, 'version', 'state')
return {1, r[1], v[1], v[2], gen, r[4] or '', r[5] or '', redis.call('HGET', devices, 'c:' .. device) or '',
  redis.call('HKEYS', KEYS[4]), redis.call('HGETALL', KEYS[6]), h.epoch, int(h.seq), h.mid, held and 1 or 0,
  int(now), redis.call('EXISTS', KEYS[5])}
