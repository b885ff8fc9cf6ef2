-- _log: what every script that touches a numbered log begins with (a room's, or the inbox of a session).
-- A log is a stream whose entry ids are `<seq>-0` and a meta hash (epoch seq mid ts bytes). Where the two disagree,
-- something was lost (FLUSHALL, a deleted key, a failover by hand): the numbering goes on above both, under a new epoch,
-- and `lost` in the meta says up to which seq messages may be missing for another reason than trimming.

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function int(n) return string.format('%d', n) end

local function stream_state(stream)
  if redis.call('EXISTS', stream) == 0 then return 0, 0, nil end
  local info, last, length, mid = redis.call('XINFO', 'STREAM', stream), '0', 0, nil
  for i = 1, #info, 2 do
    local name, value = info[i], info[i + 1]
    if name == 'length' then length = value
    elseif name == 'last-generated-id' then last = value
    elseif name == 'last-entry' and value and value[1] == last then mid = value[2][2] end
  end
  return tonumber(string.match(last, '^%d+')), length, mid
end

local function stream_bytes(stream)
  local bytes = 0
  for _, entry in ipairs(redis.call('XRANGE', stream, '-', '+')) do bytes = bytes + #entry[2][4] + 64 end
  return bytes
end

local function head_of(m)
  return {epoch = m[1], seq = tonumber(m[2] or '0'), mid = m[3] or '', ts = tonumber(m[4] or '0'), bytes = tonumber(m[5] or '0'),
    game = m[6], access = m[7]}
end

-- The head of a log, mended first if it is broken; `candidate` is the random name of a new epoch, if one is needed. To believe
-- a meta that is there beside a stream that is there is a third of the price. Where the stream has come further, `log_add` fails
-- then; a stream that was put back by hand as it was earlier is left for others to find.
local function log_head(meta, stream, channel, candidate, believe)
  local m = redis.call('HMGET', meta, 'epoch', 'seq', 'mid', 'ts', 'bytes', 'game', 'access')
  if believe and m[1] and redis.call('XLEN', stream) > 0 then return head_of(m) end
  local last, length, mid = stream_state(stream)
  local seq = tonumber(m[2] or '0')
  if m[1] and seq == last and (not mid or mid == m[3]) then return head_of(m) end
  local h = head_of(m)
  h.epoch, h.seq, h.mid, h.bytes = candidate, math.max(seq, last), mid or '', 0
  if seq > last then
    local id = int(seq) .. '-0'
    redis.call('XADD', stream, id, 'm', '', 'j', '')
    redis.call('XDEL', stream, id)
    redis.call('HSET', meta, 'lost', int(seq))
    h.mid = ''
  end
  if length > 0 then h.bytes = stream_bytes(stream) end
  redis.call('HSET', meta, 'epoch', h.epoch, 'seq', int(h.seq), 'mid', h.mid, 'ts', int(h.ts), 'bytes', int(h.bytes))
  h.fresh = h.seq == 0 and not m[1]
  if h.seq > 0 then redis.call('PUBLISH', channel, 'R' .. h.epoch .. ' ' .. int(h.seq) .. ' ' .. h.mid) end
  return h
end

-- A repeat has nothing to post, but its answer may have to wait for replicas, and they speak only of what was written.
local function write_something(h, meta) redis.call('HSET', meta, 'seq', int(h.seq)) end

local function add_entry(call, stream, id, mid, line, author)
  if author then return call('XADD', stream, id, 'm', mid, 'j', line, 's', author) end
  return call('XADD', stream, id, 'm', mid, 'j', line)
end

-- Add one message to an open batch `b` = {lines, mids, first, prev}; returns its seq, or nil where the stream has had a later one.
-- `author` is the sid that the entry is to name while a game runs: a nick can change hands, and what counts there is who wrote.
local function log_add(h, b, stream, mid, prefix, middle, tail, now, author)
  if now > h.ts then h.ts = now end
  if b.ts ~= h.ts then b.ts, b.stamp = h.ts, string.format(',"ts":%d.%03d', math.floor(h.ts / 1000), h.ts % 1000) end
  local seq = int(h.seq + 1)
  local line, id = prefix .. seq .. ',' .. middle .. b.stamp .. tail, seq .. '-0'
  local added = add_entry(redis.pcall, stream, id, mid, line, author)
  if added ~= id then
    if string.find(tostring(added.err), 'equal or smaller') then return nil end
    add_entry(redis.call, stream, id, mid, line, author)  -- fails again, and says why
  end
  if not b.first then b.first, b.prev = h.seq + 1, h.mid end
  h.seq, h.mid, h.bytes = h.seq + 1, mid, h.bytes + #line + 64
  b.mids[#b.mids + 1], b.lines[#b.lines + 1] = mid, line
  return h.seq
end

-- Drop the oldest until both bounds hold; the newest message stays whatever its size.
local function log_trim(h, stream, limit, max_bytes)
  if h.seq <= limit and h.bytes <= max_bytes then return end
  local length = redis.call('XLEN', stream)
  while length > 1 and (length > limit or h.bytes > max_bytes) do
    local some = math.min(64, math.max(length - limit, h.bytes > max_bytes and 8 or 1))
    for _, entry in ipairs(redis.call('XRANGE', stream, '-', '+', 'COUNT', some)) do
      if length <= 1 or (length <= limit and h.bytes <= max_bytes) then break end
      length, h.bytes = length - 1, h.bytes - #entry[2][4] - 64
    end
    redis.call('XTRIM', stream, 'MAXLEN', length)
  end
end

-- Close a batch: trim to `limit` messages and `max_bytes`, keep the head, tell the feed in one frame.
local function log_close(h, b, meta, stream, channel, limit, max_bytes)
  if not b.first then return end
  log_trim(h, stream, limit, max_bytes)
  redis.call('HSET', meta, 'seq', int(h.seq), 'mid', h.mid, 'ts', int(h.ts), 'bytes', int(h.bytes))
  if b.first == 1 then redis.call('PERSIST', meta) end
  redis.call('PUBLISH', channel, 'M' .. h.epoch .. ' ' .. int(b.first) .. ' ' .. b.prev .. ' ' .. table.concat(b.mids, ',')
    .. '\n' .. table.concat(b.lines, '\n') .. '\n')
end

-- Remembered send ids: a string of lines `id:seq:hash[:mid]` in rising order of the ids, of which the last `window` count. A device's
-- ids rise, so as a rule the last line tells that an id is new, and the next one is appended: that is half the price of a sorted set.
local LONGEST_IDS = 24 * 1024

local function known_ids(ids, window)
  local lines = {}
  for line in string.gmatch(redis.call('GET', ids), '[^\n]+') do lines[#lines + 1] = line end
  return {unpack(lines, math.max(1, #lines - window + 1))}
end

-- Ids that a call adds are kept in its `books`, {newest lines ttl} by key, and written at its end: then each key is read and
-- written once, however many messages of its device there are.
local function close_book(books, ids, window)
  local book = books[ids]
  books[ids] = nil
  if redis.call('APPEND', ids, table.concat(book.lines, '\n') .. '\n') > LONGEST_IDS then
    redis.call('SET', ids, table.concat(known_ids(ids, window), '\n') .. '\n', 'KEEPTTL')
  end
  if book.ttl then redis.call('EXPIRE', ids, book.ttl) end
end

local function close_books(books, window)
  for ids in pairs(books) do close_book(books, ids, window) end
end

-- What is known of an id: {seq, hash, mid} if it is remembered, {too_old} if it is below all that are, {lines} if it is in between.
local NEW = {}
local function recall(ids, id, window, books)
  if books[ids] then
    if tonumber(id) > books[ids].newest then return NEW end
    close_book(books, ids, window)
  end
  local ending = redis.call('GETRANGE', ids, -128, -1)
  local newest = string.match(ending, '^.*\n(%d+):') or string.match(ending, '^(%d+):')
  if not newest or tonumber(id) > tonumber(newest) then return NEW end
  local lines = known_ids(ids, window)
  for i = #lines, 1, -1 do
    local known, seq, hash, mid = string.match(lines[i], '^(%d+):(%d+):([^:]*):?(.*)$')
    if known == id then return {seq = seq, hash = hash, mid = mid, lines = lines, at = i} end
    if tonumber(known) < tonumber(id) then
      table.insert(lines, i + 1, '')
      return {lines = lines, at = i + 1}
    end
  end
  if #lines >= window then return {too_old = true} end
  table.insert(lines, 1, '')
  return {lines = lines, at = 1}
end

-- Whether the message of a remembered id is gone because the log lost it: an ack for it would be false.
local function lost(meta, stream, recalled)
  local m, seq = redis.call('HMGET', meta, 'seq', 'lost'), tonumber(recalled.seq)
  if seq > tonumber(m[2] or '0') and seq <= tonumber(m[1] or '0') then return false end
  return #redis.call('XRANGE', stream, recalled.seq .. '-0', recalled.seq .. '-0') == 0
end

-- Remember an id of which `recalled` is known, for `ttl` seconds or as long as its key is there.
local function remember(ids, recalled, id, seq, hash, mid, ttl, books)
  local line = id .. ':' .. int(seq) .. ':' .. hash .. (mid and (':' .. mid) or '')
  local lines, book = recalled.lines, books[ids]
  if lines then
    lines[recalled.at] = line
    redis.call('SET', ids, table.concat(lines, '\n') .. '\n', 'KEEPTTL')
    if ttl then redis.call('EXPIRE', ids, ttl) end
  elseif book then
    book.newest, book.lines[#book.lines + 1] = tonumber(id), line
  else
    books[ids] = {newest = tonumber(id), lines = {line}, ttl = ttl}
  end
end

-- A sanction is `version until_ms reason`; until 0 is endless, a past until (forgiven: 1) is none.
local function sanction(value, now)
  if not value then return nil end
  local ends, reason = string.match(value, '^%d+ (%d+) (.*)$')
  if ends ~= '0' and tonumber(ends) <= now then return nil end
  return ends, reason
end

-- The version of a room's access is another after each change that may take somebody's right to speak: who was found in
-- order at one version is so at the next look, too. Times do not repeat, not even where a failover lost some.
local function change_access(meta)
  local t = redis.call('TIME')
  redis.call('HSET', meta, 'access', t[1] .. string.format('%06d', t[2]))
end

local function newer(old, new)
  return not old or tonumber(string.match(new, '^%d+')) > tonumber(string.match(old, '^%d+'))
end
