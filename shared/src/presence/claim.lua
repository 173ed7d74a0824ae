-- Returns some users with a state under an expired node lease, so that the caller can remove their states. If there are
-- none, deletes the lease.
-- Answers users; none: the lease has no state any more.
local leases_key, users_key = unpack(KEYS)
local lease_id, max_users = unpack(ARGV)
local lease = lease_of(leases_key, lease_id)
if lease == 0 or is_alive(lease) then return {} end
-- Makes the expiry time negative, so that a node that was only paused cannot renew its lease.
if lease > 0 then redis.call('ZADD', leases_key, integer(-lease), lease_id) end
local users = redis.call('SRANDMEMBER', users_key, max_users)
if #users == 0 then redis.call('ZREM', leases_key, lease_id) end
return users
