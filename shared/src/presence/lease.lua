-- Begins, renews or ends a life of a node in one partition.
-- KEYS  1 lives      ARGV  1 life  2 begin, renew or end
-- Answers 1; 0: that life is over.
local life, what = ARGV[1], ARGV[2]
local lease = lease_of(KEYS[1], life)
if what == 'begin' and lease == 0 then lease = now end
if not is_alive(lease) then return 0 end
-- Ended, it counts for the grace still, as if it had closed all its connections now.
redis.call('ZADD', KEYS[1], integer(what == 'end' and now or now + LEASE_MS), life)
return 1
