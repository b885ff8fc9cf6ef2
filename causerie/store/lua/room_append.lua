-- room_append: post messages to one room, in order; all checks, numbering, keeping and telling in one step.
-- KEYS     1 meta   2 log   3 access   4... remembered ids, one key a sender's device
-- ARGV     1 channel   2 candidate epoch   3 history limit   4 room bytes   5 id window   6 JSON prefix   7 number of messages,
--          then each: sid ("" the system)  fence field  gen  id ("" none)  hash  mid  JSON middle  JSON tail  index of its ids key
-- RETURNS  a row each: {1, seq} posted   {2, seq, mid if a system's} remembered   {0, code, until_ms, reason} refused
local meta, stream, access, channel, window = KEYS[1], KEYS[2], KEYS[3], ARGV[1], tonumber(ARGV[5])
local now, out, batch = now_ms(), {}, {lines = {}, mids = {}}
local head = log_head(meta, stream, channel, ARGV[2])

local function refusal(sid, fence, gen)
  local a = redis.call('HMGET', access, 'i:' .. sid, fence, 'm:' .. sid, 'r:' .. sid, 'd:' .. sid)
  if a[1] and (not a[2] or tonumber(a[2]) > gen) then return {0, a[2] and 'replaced' or 'not_joined', '', ''} end
  return silenced(a[1], a[3], a[4], a[5], now)
end

local function post(i)
  local sid, fence, gen, id, hash, mid = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]
  local ids = id ~= '' and KEYS[tonumber(ARGV[i + 8])]
  local known = ids and recall(ids, id, window)
  if known and known.seq and not lost(meta, stream, known) then
    if known.hash ~= hash then return {0, 'bad_request', '', 'this id was used for another message'} end
    write_something(head, meta)
    return {2, known.seq, known.mid}
  end
  local no = sid ~= '' and refusal(sid, fence, gen)
  if no then return no end
  if known and known.too_old then return {0, 'bad_request', '', 'this id is below all that are remembered'} end
  local seq = log_add(head, batch, stream, mid, ARGV[6], ARGV[i + 6], ARGV[i + 7], now, sid ~= '' and sid)
  if ids then
    local keyed = string.find(ids, '^[^}]*}:sent:!')
    remember(ids, known, id, seq, hash, keyed and mid or nil, window)
    if keyed then redis.call('EXPIRE', ids, 86400) end
  end
  return {1, int(seq)}
end

for n = 1, tonumber(ARGV[7]) do out[n] = post(8 + (n - 1) * 9) end
log_close(head, batch, meta, stream, channel, tonumber(ARGV[3]), tonumber(ARGV[4]))
return out
