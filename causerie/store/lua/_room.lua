-- _room: presence in a room. A member is `version state nick`; the version rises with every change of its session, so a
-- repeated or late piece of news is dropped and each change is told once.

local function member_of(value)
  if not value then return nil end
  local version, state, nick = string.match(value, '^(%d+) (%a+) (.+)$')
  return {version = tonumber(version), state = state, nick = nick}
end

local function tell_presence(channel, members, sid, version, nick, state, to)
  redis.call('PUBLISH', channel, 'P' .. cjson.encode({sid = sid, version = tonumber(version), nick = nick, state = state,
    to = to or '', count = redis.call('HLEN', members)}))
end

local function put_member(channel, members, sid, version, state, nick)
  local old = member_of(redis.call('HGET', members, sid))
  if old and old.version >= tonumber(version) then return end
  redis.call('HSET', members, sid, version .. ' ' .. state .. ' ' .. nick)
  if old and old.nick ~= nick then tell_presence(channel, members, sid, version, old.nick, 'renamed', nick) end
  if not old or old.state ~= state then tell_presence(channel, members, sid, version, nick, state) end
end

-- Shut older connections of a device out; whether that was to be done.
local function fence(access, sid, device, gen)
  local field = 'g:' .. sid .. '/' .. device
  local old = redis.call('HGET', access, field)
  if old and tonumber(old) >= tonumber(gen) then return false end
  redis.call('HSET', access, field, gen)
  return true
end

-- nil when a member may speak, given its fields `i:` `m:` `r:` `d:` of the access hash; else the refusal
local function silenced(joined, muted, muted_here, dead, now)
  if not joined then return {0, 'not_joined', '', ''} end
  local ends, reason = sanction(muted, now)
  if not ends then ends, reason = sanction(muted_here, now) end
  if ends then return {0, 'suspended', ends, reason} end
  if dead then return {0, 'dead', '', dead} end
end
