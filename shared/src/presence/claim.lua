-- Returns at most max_users users with a state under an expired node lease, so that the caller can remove these states.
-- Returns an empty list if the lease has not expired. If an expired lease has no users, deletes the lease.
local leases_key, users_key = unpack(KEYS)
local lease_id, max_users = unpack(ARGV)
local lease = lease_of(leases_key, lease_id)
if lease == 0 or is_alive(lease) then return {} end
-- A negative expiry time marks the lease as expired for ever, so that a node that was only paused cannot renew it.
if lease > 0 then redis.call('ZADD', leases_key, integer(-lease), lease_id) end
local users = redis.call('SRANDMEMBER', users_key, max_users)
if #users == 0 then redis.call('ZREM', leases_key, lease_id) end
return users
