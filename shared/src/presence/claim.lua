-- Some users with a state under an expired node lease, so that the caller can remove their states. If there are none,
-- the lease is deleted.
-- KEYS  1 leases  2 users of the lease      ARGV  1 lease  2 most users
-- Answers users; none: the lease has no state any more.
local lease = lease_of(KEYS[1], ARGV[1])
if lease == 0 or is_alive(lease) then return {} end
-- Marks the lease, so that its node cannot renew it if it was only paused.
if lease > 0 then redis.call('ZADD', KEYS[1], integer(-lease), ARGV[1]) end
local users = redis.call('SRANDMEMBER', KEYS[2], ARGV[2])
if #users == 0 then redis.call('ZREM', KEYS[1], ARGV[1]) end
return users
