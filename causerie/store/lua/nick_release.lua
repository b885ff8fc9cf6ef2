-- nick_release: give a lease (or a cookie) back if it is still this session's.   KEYS 1 lease   ARGV 1 sid
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
