-- log_epoch: change the epoch, by compare-and-set: many finders of one fork make one change.
-- KEYS 1 meta 2 log   ARGV 1 channel 2 candidate epoch 3 the epoch to leave   RETURNS {epoch, seq, mid}
local h = log_head(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if h.epoch == ARGV[3] then
  h.epoch = ARGV[2]
  redis.call('HSET', KEYS[1], 'epoch', h.epoch)
  redis.call('PUBLISH', ARGV[1], 'R' .. h.epoch .. ' ' .. int(h.seq) .. ' ' .. h.mid)
end
return {h.epoch, int(h.seq), h.mid}
