-- blob_join: a file has these bytes. The first file that has them is their home: its parts serve all.
-- KEYS     1 blob
-- ARGV     1 file   2 "1": the file has parts of its own
-- RETURNS  the home, "" when the bytes are not here
local home = redis.call('HGET', KEYS[1], 'home')
if not home then
  if ARGV[2] ~= '1' then return '' end
  home = ARGV[1]
  redis.call('HSET', KEYS[1], 'home', home)
end
redis.call('HSET', KEYS[1], 'f:' .. ARGV[1], '1')
return home
