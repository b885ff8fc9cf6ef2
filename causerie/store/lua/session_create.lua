-- session_create: a new session with its first device attached. Its nick is leased afterwards; without a lease it is ended.
-- KEYS 1 rec 2 alive 3 devices 4 rooms 5 meta 6 log   ARGV 1 channel 2 candidate epoch 3 nick 4 cookie hash 5 device 6 gateway 7 ttl ms 8 address 9 lobby
-- RETURNS  {inbox epoch, seq, mid}
local now = now_ms()
redis.call('HSET', KEYS[1], 'nick', ARGV[3], 'cookie', ARGV[4], 'state', 'online', 'since', int(now), 'created', int(now),
  'version', '1', 'gen', '1', 'heard', '0', 'address', ARGV[8])
redis.call('HSET', KEYS[3], 'g:' .. ARGV[5], '1', 'w:' .. ARGV[5], ARGV[6], 't:' .. ARGV[5], int(now))
redis.call('SET', KEYS[2], '1', 'PX', ARGV[7])
redis.call('HSET', KEYS[4], ARGV[9], '1')
local h = log_head(KEYS[5], KEYS[6], ARGV[1], ARGV[2])
return {h.epoch, int(h.seq), h.mid}
