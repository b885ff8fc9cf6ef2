-- room_enter: a device of a member was attached, or its session changed: fence the older ones, tell the change, say the head.
-- KEYS 1 meta 2 log 3 members 4 access   ARGV 1 channel 2 candidate epoch 3 sid 4 version 5 state 6 nick 7 device 8 gen ("" no fence)
-- RETURNS  {1, epoch, seq, mid}   or {0} when the session is no member (a join mends that)
if redis.call('HEXISTS', KEYS[3], ARGV[3]) == 0 or redis.call('HEXISTS', KEYS[4], 'i:' .. ARGV[3]) == 0 then return {0} end
local head = log_head(KEYS[1], KEYS[2], ARGV[1], ARGV[2], true)
if ARGV[8] ~= '' and fence(KEYS[4], ARGV[3], ARGV[7], ARGV[8]) then change_access(KEYS[1]) end
put_member(ARGV[1], KEYS[3], ARGV[3], ARGV[4], ARGV[5], ARGV[6])
return {1, head.epoch, int(head.seq), head.mid}
