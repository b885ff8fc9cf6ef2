-- session_joined: the room has taken the session in; the other connections of the session are told where to begin.
-- KEYS 1 tell   ARGV 1 channel 2 device 3 gen 4 room 5 epoch 6 seq 7 mid
note(ARGV[1], {what = 'join', device = ARGV[2], gen = tonumber(ARGV[3]), room = ARGV[4], epoch = ARGV[5], seq = tonumber(ARGV[6]), mid = ARGV[7]})
return 1
