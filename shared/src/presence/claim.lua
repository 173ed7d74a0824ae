-- Some users of a life that is over, to be taken away one by one; when there are none the life is forgotten.
-- KEYS  1 lives  2 users of the life      ARGV  1 life  2 most users
-- Answers users; none: nothing is left to do.
local lease = lease_of(KEYS[1], ARGV[1])
if lease == 0 or is_alive(lease) then return {} end
-- A node that was only paused must not go on with it from here on.
if lease > 0 then redis.call('ZADD', KEYS[1], integer(-lease), ARGV[1]) end
local users = redis.call('SRANDMEMBER', KEYS[2], ARGV[2])
if #users == 0 then redis.call('ZREM', KEYS[1], ARGV[1]) end
return users
