-- Begins, renews or ends a node lease in one partition.
-- what: begin, renew or end
-- Answers 1, or 0 if the lease has expired.
local leases_key = KEYS[1]
local lease_id, what = unpack(ARGV)
local lease = lease_of(leases_key, lease_id)
if what == 'begin' and lease == 0 then lease = now end
if not is_alive(lease) then return 0 end
-- States under an ended lease stay valid for the grace period, as if the node closed all connections now.
redis.call('ZADD', leases_key, integer(what == 'end' and now or now + LEASE_MS), lease_id)
return 1
