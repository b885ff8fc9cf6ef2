-- log_head: where a log stands, mended first if meta and stream disagree.
-- KEYS 1 meta 2 log   ARGV 1 channel 2 candidate epoch 3 seconds to keep the meta of a log that nobody has joined or written yet
-- RETURNS  {epoch, seq, mid}
local h = log_head(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if h.fresh then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return {h.epoch, int(h.seq), h.mid}
