-- _session: the record of a session (hash `rec`: nick cookie state since version gen created heard ended mute admin address)
-- and its devices (hash: g:DEVICE gen, w:DEVICE gateway or "", t:DEVICE ms of the attach, c:DEVICE current room).

local function tell_all(rooms, tell, version)
  local names = redis.call('HKEYS', rooms)
  for _, room in ipairs(names) do redis.call('HSET', tell, room, int(version)) end
  return names
end

-- Versions and generations rise by the clock, so that none that a failover lost is given out again. Not finer than
-- milliseconds: cjson writes fourteen digits.
local function raise(rec, field)
  local n = math.max(now_ms(), tonumber(redis.call('HGET', rec, field) or '0') + 1)
  redis.call('HSET', rec, field, int(n))
  return n
end

local function change_state(rec, rooms, tell, state, now)
  redis.call('HSET', rec, 'state', state, 'since', int(now))
  local version = raise(rec, 'version')
  tell_all(rooms, tell, version)
  return version
end

local function note(channel, fields) return redis.call('PUBLISH', channel, 'S' .. cjson.encode(fields)) end

local function device_names(devices)
  local names = {}
  for _, field in ipairs(redis.call('HKEYS', devices)) do
    if string.sub(field, 1, 2) == 'g:' then names[#names + 1] = string.sub(field, 3) end
  end
  return names
end

local function connected(devices)
  for _, device in ipairs(device_names(devices)) do
    local gateway = redis.call('HGET', devices, 'w:' .. device)
    if gateway and gateway ~= '' then return true end
  end
  return false
end

local function keep_alive(alive, ttl)
  if redis.call('PEXPIRE', alive, ttl, 'GT') == 0 then redis.call('SET', alive, '1', 'PX', ttl, 'NX') end
end

-- nil when the writer may write (then the session's state too); else the code that it gets. An older generation than its
-- own was left by a failover that lost its attach: nobody took its place, so it may come back.
local function fenced(rec, devices, device, gen)
  local r = redis.call('HMGET', rec, 'nick', 'ended', 'state')
  if not r[1] then return 'unavailable' end
  if r[2] then return r[2] end
  local now = redis.call('HGET', devices, 'g:' .. device)
  if not now or tonumber(now) < tonumber(gen) then return 'unavailable' end
  if tonumber(now) > tonumber(gen) then return 'replaced' end
  return nil, r[3]
end
