-- room_append: post messages to rooms, to each in order; all checks, numbering, keeping and telling in one step (in a Cluster one
-- room a call: a script sees one slot).
-- KEYS     for each room: meta  log  access  then remembered ids, one key a sender's device
-- ARGV     1 candidate epoch   2 history limit   3 room bytes   4 id window   5 number of JSON tails   then the tails
--          then for each room: channel  JSON prefix  version of its access at which all senders were cleared ("" they were not)
--          number of messages  number of ids keys
--          then for each of its messages: `id hash mid tail ids sid gen device`, where id may be "", tail and ids are indexes, sid is ""
--          for the system   JSON middle
-- RETURNS  for each room: version of its access
--          then for each message: seq posted, its id above all that were known   {1, seq} posted
--          {2, seq, mid if a system's} remembered   {0, code, until_ms, reason} refused
local now, window, out = now_ms(), tonumber(ARGV[4]), {}

local function sender(head) return string.match(head, '^%d* %S* %S* %d+ %d+ (%S*) (%d*) (.*)$') end

-- What is against the senders of messages whose heads are in ARGV from `a` to `z`: a refusal or nil, by head.
local function refusals(access, a, z)
  local refused = {}
  for i = a, z, 2 do
    local sid, gen, device = sender(ARGV[i])
    if sid ~= '' then
      local r = redis.call('HMGET', access, 'i:' .. sid, 'g:' .. sid .. '/' .. device, 'm:' .. sid, 'r:' .. sid, 'd:' .. sid)
      if r[1] and (not r[2] or tonumber(r[2]) > tonumber(gen)) then
        refused[i] = {0, r[2] and 'replaced' or 'not_joined', '', ''}
      else
        refused[i] = silenced(r[1], r[3], r[4], r[5], now)
      end
    end
  end
  return refused
end

local function add(room, i, mid, tail)
  local author = room.head.game and sender(ARGV[i])
  return log_add(room.head, room.batch, room.stream, mid, room.prefix, ARGV[i + 1], tail, now, author ~= '' and author)
end

local function post(room, i)
  local id, hash, mid, tail, ids = string.match(ARGV[i], '^(%d*) (%S*) (%S*) (%d+) (%d+)')
  ids = id ~= '' and KEYS[room.keys + ids]
  local known = ids and (room.cleared and NEW or recall(ids, id, window, room.books))
  if known and known.seq and not lost(room.meta, room.stream, known) then
    if known.hash ~= hash then return {0, 'bad_request', '', 'this id was used for another message'} end
    write_something(room.head, room.meta)
    return {2, known.seq, known.mid}
  end
  if room.refused[i] then return room.refused[i] end
  if known and known.too_old then return {0, 'bad_request', '', 'this id is below all that are remembered'} end
  local seq = add(room, i, mid, ARGV[5 + tail])
  if not seq then
    room.head = log_head(room.meta, room.stream, room.channel, ARGV[1])
    seq = add(room, i, mid, ARGV[5 + tail])
  end
  if ids then
    local keyed = not room.cleared and string.find(ids, '^[^}]*}:sent:!')
    remember(ids, known, id, seq, hash, keyed and mid, keyed and 86400, room.books)
  end
  return known and known.lines and {1, seq} or seq
end

local a, k = 6 + tonumber(ARGV[5]), 0
while a < #ARGV do
  local meta, stream, access, channel = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3], ARGV[a]
  local first, last = a + 5, a + 3 + 2 * ARGV[a + 3]
  local head = log_head(meta, stream, channel, ARGV[1], true)
  local room = {meta = meta, stream = stream, channel = channel, prefix = ARGV[a + 1], keys = k + 3, batch = {lines = {}, mids = {}},
    books = {}, head = head, cleared = head.access and head.access == ARGV[a + 2]}
  room.refused = room.cleared and NEW or refusals(access, first, last)
  out[#out + 1] = head.access or ''
  for i = first, last, 2 do out[#out + 1] = post(room, i) end
  close_books(room.books, window)
  log_close(room.head, room.batch, meta, stream, channel, tonumber(ARGV[2]), tonumber(ARGV[3]))
  k, a = k + 3 + ARGV[a + 4], last + 2
end
return out
