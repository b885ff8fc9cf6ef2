-- log_probe: what a client that claims to have seen message `seq` (with that mid, if it says one) may rely on.
-- KEYS 1 meta 2 log   ARGV 1 channel 2 candidate epoch 3 seq   RETURNS {epoch, head seq, head mid, first kept seq, mid at seq or ""}
local h = log_head(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local first = oldest and string.match(oldest[1], '^%d+') or int(h.seq + 1)
local at = redis.call('XRANGE', KEYS[2], ARGV[3] .. '-0', ARGV[3] .. '-0')[1]
local mid = at and at[2][2] or (tonumber(ARGV[3]) == h.seq and h.mid or '')
return {h.epoch, int(h.seq), h.mid, first, mid}
