-- runner_claim: hand the game of a room from one worker to another, by compare-and-set.
-- KEYS 1 games   ARGV 1 room 2 who has it now ("" nobody) 3 who gets it (missing: it has no game)   RETURNS 1 done, 0 `2` has it not
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
if ARGV[3] then redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) else redis.call('HDEL', KEYS[1], ARGV[1]) end
return 1
