-- dm_deliver: one recipient's copy of a direct message. Repeats safely: copies of one sender come in the order of its inbox, so all up
-- to the last one are known to be here. The order is that of (ts, seq), not of seqs alone: an inbox that was lost counts anew.
-- KEYS     1 rec   2 meta   3 log   4 from
-- ARGV     1 channel   2 candidate epoch   3 limit   4 bytes   5 sender sid   6 sender's seq   7 mid   8 ts ms   9 prefix   10 middle   11 tail   12 most senders known
-- RETURNS  {epoch, seq}, 0 when it was here already, -1 when the session is over
local r = redis.call('HMGET', KEYS[1], 'nick', 'ended')
if not r[1] or r[2] then return -1 end
if not fresh_copy(KEYS[4], ARGV[5], ARGV[8], ARGV[6], tonumber(ARGV[12])) then
  write_something(log_head(KEYS[2], KEYS[3], ARGV[1], ARGV[2]), KEYS[2])
  return 0
end
local head, batch = log_head(KEYS[2], KEYS[3], ARGV[1], ARGV[2]), {lines = {}, mids = {}}
local seq = log_add(head, batch, KEYS[3], ARGV[7], ARGV[9], ARGV[10], ARGV[11], tonumber(ARGV[8]))
log_close(head, batch, KEYS[2], KEYS[3], ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]))
return {head.epoch, int(seq)}
