-- room_sanction: write a sanction into a room's access table; the higher version wins.
-- KEYS 1 access 2 meta   ARGV 1 "version until_ms reason"   then fields (m:sid, r:sid, s:nick, b:nick); a field of a sid is only for members
-- RETURNS  how many fields were written
local written = 0
for i = 2, #ARGV do
  local kind, name = string.sub(ARGV[i], 1, 2), string.sub(ARGV[i], 3)
  local here = kind == 's:' or kind == 'b:' or redis.call('HEXISTS', KEYS[1], 'i:' .. name) == 1
  if here and newer(redis.call('HGET', KEYS[1], ARGV[i]), ARGV[1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[1])
    written = written + 1
  end
end
if written > 0 then change_access(KEYS[2]) end
return written
