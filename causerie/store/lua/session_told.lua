-- session_told: strike off rooms that have heard of a version.   KEYS 1 tell   ARGV 1 version   then rooms
for i = 2, #ARGV do
  local v = redis.call('HGET', KEYS[1], ARGV[i])
  if v and tonumber(v) <= tonumber(ARGV[1]) then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return 1
