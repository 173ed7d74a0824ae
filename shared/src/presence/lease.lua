-- Begins, renews or ends a node lease in one partition.
-- KEYS  1 leases      ARGV  1 lease  2 begin, renew or end
-- Answers 1; 0: the lease has expired.
local lease_id, what = ARGV[1], ARGV[2]
local lease = lease_of(KEYS[1], lease_id)
if what == 'begin' and lease == 0 then lease = now end
if not is_alive(lease) then return 0 end
-- An ended lease stays valid for the grace period, as if the node had closed all connections now.
redis.call('ZADD', KEYS[1], integer(what == 'end' and now or now + LEASE_MS), lease_id)
return 1
