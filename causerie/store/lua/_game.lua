-- _game: a game in a room. Its hash (rev name id seq state ask lock leaves, l:SID a member who left) changes only together with
-- what follows from the change, and only by who has read its latest revision; so every message counts exactly once.

-- The next argument, the next, ... from number `at` on; lists come with their length before them.
local function reader(at)
  return function()
    at = at + 1
    return ARGV[at - 1]
  end
end

-- KEYS every script of a game begins with: 1 meta 2 log 3 members 4 access 5 game 6 letters 7 score

local function game_posts(take, head)
  local batch = {lines = {}, mids = {}}
  for _ = 1, tonumber(take()) do
    local mid, middle, tail = take(), take(), take()
    log_add(head, batch, KEYS[2], mid, ARGV[5], middle, tail, now_ms())
  end
  log_close(head, batch, KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]))
end

-- Letters to sessions lie in this slot until they are delivered in theirs: a whisper, or that a session is dead in this room
-- (`change` dead, alive or -). Numbers of a game rise, by the clock, so that none that a failover lost is given out again.
local function letter(game, sid, change, mid, middle, tail)
  local t = redis.call('TIME')
  local n = math.max(t[1] * 1000000 + t[2], tonumber(redis.call('HGET', KEYS[5], 'letter') or '0') + 1)
  redis.call('HSET', KEYS[5], 'letter', int(n))
  redis.call('RPUSH', KEYS[6], table.concat({int(n), game, sid, change, mid, int(now_ms())}, ' ') .. '\n' .. middle .. '\n' .. tail)
end

local function game_letters(take, game)
  for _ = 1, tonumber(take()) do
    local sid, mid, middle, tail = take(), take(), take(), take()
    letter(game, sid, '-', mid, middle, tail)
  end
end

local function game_deaths(take, game, text)
  local dead = tonumber(take())
  if dead > 0 then change_access(KEYS[1]) end
  for _ = 1, dead do
    local sid = take()
    redis.call('HSET', KEYS[4], 'd:' .. sid, text)
    letter(game, sid, 'dead', '-', '', '')
  end
end

local function game_scores(take, most)
  for _ = 1, tonumber(take()) do
    local sid, nick, wins, kills, deaths = take(), take(), take(), take(), take()
    local w, k, d = string.match(redis.call('HGET', KEYS[7], sid) or '0 0 0 0 ', '^%d+ (%d+) (%d+) (%d+) ')
    redis.call('HSET', KEYS[7], sid, table.concat({int(now_ms()), int(w + wins), int(k + kills), int(d + deaths), nick}, ' '))
  end
  local over = redis.call('HLEN', KEYS[7]) - most
  if over <= 0 then return end
  local kept, all = {}, redis.call('HGETALL', KEYS[7])
  for i = 1, #all, 2 do kept[#kept + 1] = {all[i], tonumber(string.match(all[i + 1], '^%d+'))} end
  table.sort(kept, function(a, b) return a[2] < b[2] end)
  for i = 1, over do redis.call('HDEL', KEYS[7], kept[i][1]) end
end

local function game_over(game)
  local marks = {}
  for _, field in ipairs(redis.call('HKEYS', KEYS[4])) do
    local kind = string.sub(field, 1, 2)
    if kind == 'p:' or kind == 'd:' then marks[#marks + 1] = field end
    if kind == 'd:' then letter(game, string.sub(field, 3), 'alive', '-', '', '') end
  end
  for i = 1, #marks, 1000 do redis.call('HDEL', KEYS[4], unpack(marks, i, math.min(i + 999, #marks))) end
  redis.call('HDEL', KEYS[1], 'game', 'locked')
  redis.call('DEL', KEYS[5])
end
