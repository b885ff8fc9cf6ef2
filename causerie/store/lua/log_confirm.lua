-- log_confirm: is a message that was written still on its log? If not, and nobody has told of it yet, acknowledged messages were lost.
-- KEYS 1 meta 2 log   ARGV 1 channel 2 candidate epoch 3 its epoch 4 its seq 5 its mid
-- RETURNS  1 it is not: the log has a new epoch   0 it is (or was trimmed), or the log has another epoch, or is no more
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local h = log_head(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if h.epoch ~= ARGV[3] then return 0 end
local at = redis.call('XRANGE', KEYS[2], ARGV[4] .. '-0', ARGV[4] .. '-0')[1]
if tonumber(ARGV[4]) <= h.seq and (not at or at[2][2] == ARGV[5]) then return 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2])
redis.call('PUBLISH', ARGV[1], 'R' .. ARGV[2] .. ' ' .. int(h.seq) .. ' ' .. h.mid)
return 1
