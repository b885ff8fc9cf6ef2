-- game_read: what a runner needs to go on: the state if it is new to it, who left, and what members wrote since.
-- KEYS     1 meta   2 log   3 members   4 access   5 game   6 letters   7 score
-- ARGV     1 channel   2 candidate epoch   3 rev that the runner has ("" none)   4 it has seen up to this seq   5 most entries
--          6 most bytes   7 "1": the members, too
-- RETURNS  {letters} no game, or {letters, rev, name, id, cursor, head seq, seen up to, members, state ("" that of the rev given),
--          {sid, "seq order why"...}, {sid, "version state nick"...}, {seq, sid, line}...}
local letters = redis.call('LLEN', KEYS[6])
local g = redis.call('HMGET', KEYS[5], 'rev', 'name', 'id', 'seq', 'state', 'lock')
if not g[1] then return {letters} end
local head = log_head(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if head.game ~= g[3] then  -- the key was lost: from here on authors are noted again
  redis.call('HSET', KEYS[1], 'game', g[3])
  if g[6] ~= '' then redis.call('HSET', KEYS[1], 'locked', g[6]) end
end
local known = g[1] == ARGV[3]
local after = math.min(known and tonumber(ARGV[4]) or tonumber(g[4]), head.seq)
local left, bytes, said = tonumber(ARGV[5]), tonumber(ARGV[6]), {}
while left > 0 and bytes > 0 and after < head.seq do
  local entries = redis.call('XRANGE', KEYS[2], int(after + 1) .. '-0', '+', 'COUNT', math.min(left, 64))
  if #entries == 0 then after = head.seq end
  for _, entry in ipairs(entries) do
    after, left = tonumber(string.match(entry[1], '^%d+')), left - 1
    if entry[2][6] then
      bytes = bytes - #entry[2][4]
      said[#said + 1] = {int(after), entry[2][6], entry[2][4]}
    end
  end
end
local leaves, fields = {}, redis.call('HGETALL', KEYS[5])
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 2) == 'l:' then
    leaves[#leaves + 1], leaves[#leaves + 2] = string.sub(fields[i], 3), fields[i + 1]
  end
end
local members = ARGV[7] == '1' and redis.call('HGETALL', KEYS[3]) or {}
return {letters, g[1], g[2], g[3], tonumber(g[4]), int(head.seq), int(after), redis.call('HLEN', KEYS[3]), known and '' or g[5], leaves,
  members, said}
