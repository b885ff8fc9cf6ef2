-- dm_letter: what a game has for one session: a whisper, or that it is dead in a room, or no longer. Repeats safely.
-- KEYS     1 rec   2 meta   3 log   4 from
-- ARGV     1 channel   2 candidate epoch   3 limit   4 bytes   5 game   6 number   7 mid   8 ts ms   9 prefix   10 middle ("" no message)
--          11 tail   12 most senders known   13 room   14 "dead", "alive" or "-"
-- RETURNS  1 delivered   0 it was here already   -1 the session is over
local r = redis.call('HMGET', KEYS[1], 'nick', 'ended', 'dead')
if not r[1] or r[2] then return -1 end
if not fresh_copy(KEYS[4], '!' .. ARGV[5], ARGV[8], ARGV[6], tonumber(ARGV[12])) then return 0 end
if ARGV[14] ~= '-' then
  local rooms = {}
  for room in string.gmatch(r[3] or '', '%S+') do
    if room ~= ARGV[13] then rooms[#rooms + 1] = room end
  end
  if ARGV[14] == 'dead' then rooms[#rooms + 1] = ARGV[13] end
  if #rooms > 0 then redis.call('HSET', KEYS[1], 'dead', table.concat(rooms, ' ')) else redis.call('HDEL', KEYS[1], 'dead') end
end
if ARGV[10] ~= '' then
  local head, batch = log_head(KEYS[2], KEYS[3], ARGV[1], ARGV[2]), {lines = {}, mids = {}}
  log_add(head, batch, KEYS[3], ARGV[7], ARGV[9], ARGV[10], ARGV[11], tonumber(ARGV[8]))
  log_close(head, batch, KEYS[2], KEYS[3], ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]))
end
return 1
