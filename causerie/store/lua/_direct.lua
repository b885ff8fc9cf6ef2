-- _direct: copies for an inbox. Those of one sender come in the order of their times and numbers, so the last one tells which
-- are here.

-- Whether copy number `seq` of a sender, of the time `ts`, is not here yet; from now on it is. `most` senders are remembered.
local function fresh_copy(from, sender, ts, seq, most)
  local last = redis.call('HGET', from, sender)
  if last then
    local last_ts, last_seq = string.match(last, '^(%d+) (%d+)')
    last_ts, last_seq = tonumber(last_ts) - tonumber(ts), tonumber(last_seq) - tonumber(seq)
    if last_ts > 0 or (last_ts == 0 and last_seq >= 0) then return false end
  end
  if not last and redis.call('HLEN', from) >= most then
    local oldest, name
    local some = redis.call('HRANDFIELD', from, 8, 'WITHVALUES')
    for i = 1, #some, 2 do
      local at = tonumber(string.match(some[i + 1], ' (%d+)$'))
      if not oldest or at < oldest then oldest, name = at, some[i] end
    end
    redis.call('HDEL', from, name)
  end
  redis.call('HSET', from, sender, ts .. ' ' .. seq .. ' ' .. int(now_ms()))
  return true
end
