-- dm_begin: a direct message enters its sender's inbox, and stays pending until every recipient has it.
-- KEYS     1 rec   2 devices   3 meta   4 log   5 remembered ids of the device   6 pending
-- ARGV     1 channel   2 candidate epoch   3 limit   4 bytes   5 window   6 device   7 gen   8 id ("" none)   9 hash   10 mid
--          11 JSON prefix   12 JSON middle   13 JSON tail   14 recipients (sids, spaces; "!nick" one is unknown)
--          15 seconds to remember the id ("" as long as the session)   16 "1": none of them plays where the sender is dead
-- RETURNS  {1 new | 2 remembered, seq, {pending: "seq mid ts recipients\nmiddle\ntail"...} in rising seq}   or {0, code, until_ms, reason}
--          {0, "dead", "", rooms} unless 16
local function pendings()
  local all = redis.call('HVALS', KEYS[6])
  table.sort(all, function(a, b) return tonumber(string.match(a, '^%d+')) < tonumber(string.match(b, '^%d+')) end)
  return all
end
local id, books, window = ARGV[8] ~= '' and ARGV[8], {}, tonumber(ARGV[5])
local known = id and recall(KEYS[5], id, window, books)
if known and known.seq then
  if known.hash ~= ARGV[9] then return {0, 'bad_request', '', 'this id was used for another message'} end
  write_something(log_head(KEYS[3], KEYS[4], ARGV[1], ARGV[2]), KEYS[3])
  return {2, known.seq, pendings()}
end
if string.sub(ARGV[14], 1, 1) == '!' then return {0, 'no_such_nick', '', 'nobody here is called ' .. string.sub(ARGV[14], 2)} end
local code = fenced(KEYS[1], KEYS[2], ARGV[6], ARGV[7])
if code then return {0, code, '', ''} end
local now = now_ms()
local r = redis.call('HMGET', KEYS[1], 'mute', 'dead')
local ends, reason = sanction(r[1], now)
if ends then return {0, 'suspended', ends, reason} end
if known and known.too_old then return {0, 'bad_request', '', 'this id is below all that are remembered'} end
if r[2] and ARGV[16] ~= '1' then return {0, 'dead', '', r[2]} end
local head, batch = log_head(KEYS[3], KEYS[4], ARGV[1], ARGV[2]), {lines = {}, mids = {}}
local seq = log_add(head, batch, KEYS[4], ARGV[10], ARGV[11], ARGV[12], ARGV[13], now)
log_close(head, batch, KEYS[3], KEYS[4], ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]))
if id then
  remember(KEYS[5], known, id, seq, ARGV[9], ARGV[10], ARGV[15] ~= '' and ARGV[15], books)
  close_books(books, window)
end
if ARGV[14] ~= '' then
  redis.call('HSET', KEYS[6], ARGV[10], int(seq) .. ' ' .. ARGV[10] .. ' ' .. int(head.ts) .. ' ' .. ARGV[14] .. '\n' .. ARGV[12] .. '\n' .. ARGV[13])
end
return {1, int(seq), pendings()}
