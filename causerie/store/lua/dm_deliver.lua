-- dm_deliver: one recipient's copy of a direct message. Repeats safely: copies of one sender come in the order of its inbox, so all up
-- to the last one are known to be here. The order is that of (ts, seq), not of seqs alone: an inbox that was lost counts anew.
-- KEYS     1 rec   2 meta   3 log   4 from
-- ARGV     1 channel   2 candidate epoch   3 limit   4 bytes   5 sender sid   6 sender's seq   7 mid   8 ts ms   9 prefix   10 middle   11 tail   12 most senders known
-- RETURNS  seq, 0 when it was here already, -1 when the session is over
local r = redis.call('HMGET', KEYS[1], 'nick', 'ended')
if not r[1] or r[2] then return -1 end
local last = redis.call('HGET', KEYS[4], ARGV[5])
if last then
  local ts, seq = string.match(last, '^(%d+) (%d+)')
  ts, seq = tonumber(ts) - tonumber(ARGV[8]), tonumber(seq) - tonumber(ARGV[6])
  if ts > 0 or (ts == 0 and seq >= 0) then
    write_something(log_head(KEYS[2], KEYS[3], ARGV[1], ARGV[2]), KEYS[2])
    return 0
  end
end
local now = now_ms()
if not last and redis.call('HLEN', KEYS[4]) >= tonumber(ARGV[12]) then
  local oldest, name
  local some = redis.call('HRANDFIELD', KEYS[4], 8, 'WITHVALUES')
  for i = 1, #some, 2 do
    local at = tonumber(string.match(some[i + 1], ' (%d+)$'))
    if not oldest or at < oldest then oldest, name = at, some[i] end
  end
  redis.call('HDEL', KEYS[4], name)
end
redis.call('HSET', KEYS[4], ARGV[5], ARGV[8] .. ' ' .. ARGV[6] .. ' ' .. int(now))
local head, batch = log_head(KEYS[2], KEYS[3], ARGV[1], ARGV[2]), {lines = {}, mids = {}}
local seq = log_add(head, batch, KEYS[3], ARGV[7], ARGV[9], ARGV[10], ARGV[11], tonumber(ARGV[8]))
log_close(head, batch, KEYS[2], KEYS[3], ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]))
return seq
