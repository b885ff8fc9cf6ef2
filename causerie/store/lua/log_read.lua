-- log_read: a piece of a log, oldest first, and where the log stands at that very moment.
-- KEYS     1 meta   2 log
-- ARGV     1 channel   2 candidate epoch   3 after seq   4 most messages   5 most bytes
-- RETURNS  {epoch, seq, mid, first kept seq, {id, {m, mid, j, line}}...}
local h = log_head(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local first = oldest and tonumber(string.match(oldest[1], '^%d+')) or h.seq + 1
local out, bytes, after, left = {h.epoch, int(h.seq), h.mid, int(first)}, 0, tonumber(ARGV[3]), tonumber(ARGV[4])
while left > 0 and bytes < tonumber(ARGV[5]) do
  local entries = redis.call('XRANGE', KEYS[2], int(after + 1) .. '-0', '+', 'COUNT', math.min(left, 64))
  if #entries == 0 then break end
  for _, entry in ipairs(entries) do
    out[#out + 1], bytes = entry, bytes + #entry[2][4]
    after = tonumber(string.match(entry[1], '^%d+'))
  end
  left = left - #entries
end
return out
