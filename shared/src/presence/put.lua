-- Sets or removes a user's state under a node lease.
-- KEYS  1 user  2 due  3 leases  4 users of the lease
-- ARGV  1 user  2 lease  3 o, a, or '': remove the state  4 o or a: a state that stays valid for the grace period,
--       because a connection closed, or ''  5 '1': a reaper removes the state under an expired lease
-- Answers 'told': the published state is up to date; 'tell': a change must be published; 'over': the lease has expired,
-- begin another.
local user, lease_id, status, grace = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lease = lease_of(KEYS[3], lease_id)
if ARGV[5] == '1' then
  if is_alive(lease) then return 'told' end
elseif not is_alive(lease) then
  return 'over'
end
if status == '' then
  if redis.call('HDEL', KEYS[1], 'n:' .. lease_id) == 1 then
    local seen = ARGV[5] == '1' and math.abs(lease) - LEASE_MS or now
    local before = tonumber(redis.call('HGET', KEYS[1], 'seen')) or 0
    redis.call('HSET', KEYS[1], 'seen', integer(math.max(seen, before)))
  end
  redis.call('SREM', KEYS[4], user)
else
  redis.call('HSET', KEYS[1], 'n:' .. lease_id, status)
  redis.call('SADD', KEYS[4], user)
end
if grace ~= '' then
  redis.call('HSET', KEYS[1], 'x:' .. grace, grace .. ' ' .. integer(now + GRACE_MS) .. ' ' .. integer(now))
end
return settle(user, KEYS[1], KEYS[2], weigh(KEYS[1], KEYS[3])) and 'tell' or 'told'
