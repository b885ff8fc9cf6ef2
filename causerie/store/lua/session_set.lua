-- session_set: change fields of the record, fenced (cookie, admin, heard, leases).
-- KEYS 1 rec 2 devices   ARGV 1 device 2 gen   then pairs: field, value   RETURNS "" or the code of a refusal
local code = fenced(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if code then return code end
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
return ''
