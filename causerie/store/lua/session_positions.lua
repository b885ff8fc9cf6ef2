-- session_positions: keep what a device has received (text and IRC send no positions), fenced.
-- KEYS 1 rec 2 devices 3 pos   ARGV 1 device 2 gen 3 current room ("" unchanged)   then pairs: field, "epoch seq mid" ("" forgets)
-- RETURNS  "" or the code of a refusal
local code = fenced(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if code then return code end
if ARGV[3] ~= '' then redis.call('HSET', KEYS[2], 'c:' .. ARGV[1], ARGV[3]) end
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[3], ARGV[i]) else redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
end
return ''
