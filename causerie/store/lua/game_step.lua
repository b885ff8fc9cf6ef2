-- game_step: commit what some messages did to a game: its state, how far it has come, and all that follows, or nothing of it.
-- KEYS     1 meta   2 log   3 members   4 access   5 game   6 letters   7 score
-- ARGV     1 channel   2 candidate epoch   3 history limit   4 room bytes   5 JSON prefix   6 rev that was read   7 new rev
--          8 state   9 cursor (seq)   10 "1": the game is over   11 most scores kept
--          then lists: sids whose leaving is dealt with; dead (sid); posts (mid, JSON middle, JSON tail);
--          letters (sid, mid, middle, tail); scores (sid, nick, wins, kills, deaths)
-- RETURNS  1 done   0 somebody else was first: read again
local g = redis.call('HMGET', KEYS[5], 'rev', 'id', 'dead')
if g[1] ~= ARGV[6] then return 0 end
local take = reader(12)
redis.call('HSET', KEYS[5], 'rev', ARGV[7], 'state', ARGV[8], 'seq', ARGV[9])
for _ = 1, tonumber(take()) do redis.call('HDEL', KEYS[5], 'l:' .. take()) end
game_deaths(take, g[2], g[3])
game_posts(take, log_head(KEYS[1], KEYS[2], ARGV[1], ARGV[2]))
game_letters(take, g[2])
game_scores(take, tonumber(ARGV[11]))
if ARGV[10] == '1' then game_over(g[2]) end
return 1
