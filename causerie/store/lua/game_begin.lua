-- game_begin: a game begins: the room is locked, its members are noted, the first posts and letters go out.
-- KEYS     1 meta   2 log   3 members   4 access   5 game   6 letters   7 score
-- ARGV     1 channel   2 candidate epoch   3 history limit   4 room bytes   5 JSON prefix   6 rev   7 name   8 id   9 state
--          10 who asks, under which id ("" unknown)   11 what newcomers are told ("" they may come)   12 text for the dead
--          then lists: players (sid); posts (mid, JSON middle, JSON tail); letters (sid, mid, middle, tail)
-- RETURNS  {1} begun   {2} had been, by this very asking   {0, "running"}   {0, "gone"} a player is no member any more
local running = redis.call('HMGET', KEYS[5], 'rev', 'ask')
if running[1] then
  if ARGV[10] ~= '' and running[2] == ARGV[10] then return {2} end
  return {0, 'running'}
end
local take, players = reader(13), {}
for i = 1, tonumber(take()) do
  players[i] = take()
  if redis.call('HEXISTS', KEYS[4], 'i:' .. players[i]) == 0 then return {0, 'gone'} end
end
for _, sid in ipairs(redis.call('HKEYS', KEYS[3])) do redis.call('HSET', KEYS[4], 'p:' .. sid, 'watches') end
for _, sid in ipairs(players) do redis.call('HSET', KEYS[4], 'p:' .. sid, 'plays') end
local head = log_head(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[1], 'game', ARGV[8])
if ARGV[11] ~= '' then redis.call('HSET', KEYS[1], 'locked', ARGV[11]) end
redis.call('HSET', KEYS[5], 'rev', ARGV[6], 'name', ARGV[7], 'id', ARGV[8], 'state', ARGV[9], 'ask', ARGV[10], 'lock', ARGV[11],
  'dead', ARGV[12])
game_posts(take, head)
game_letters(take, ARGV[8])
redis.call('HSET', KEYS[5], 'seq', int(head.seq))
return {1}
