-- Sets or removes a user's state under a node lease. `o` is online, `a` is away.
-- status: o or a; '' = remove the state
-- grace: the status (o or a) of a closed connection, which stays valid for the grace period; '' = none
-- silence_ms: how long ago the last bytes came from the closed connections; -1 = the caller is another node, which
-- removes the state because the lease has expired
-- Answers 'told' if the published state is up to date, 'tell' if a change must be published, or 'over' if the lease has
-- expired and the node must begin another one.
local user_key, due_key, leases_key, users_key = unpack(KEYS)
local user, lease_id, status, grace, silence_ms = unpack(ARGV)
local lease = lease_of(leases_key, lease_id)
local by_other_node = silence_ms == '-1'
if by_other_node then
  if is_alive(lease) then return 'told' end
elseif not is_alive(lease) then
  return 'over'
end
local seen = by_other_node and math.abs(lease) - LEASE_MS or now - tonumber(silence_ms)
if status == '' then
  if redis.call('HDEL', user_key, 'n:' .. lease_id) == 1 then
    local seen_before = tonumber(redis.call('HGET', user_key, 'seen')) or 0
    redis.call('HSET', user_key, 'seen', integer(math.max(seen, seen_before)))
  end
  redis.call('SREM', users_key, user)
else
  redis.call('HSET', user_key, 'n:' .. lease_id, status)
  redis.call('SADD', users_key, user)
end
if grace ~= '' then
  redis.call('HSET', user_key, 'x:' .. grace, grace .. ' ' .. integer(now + GRACE_MS) .. ' ' .. integer(seen))
end
return schedule_check(user, user_key, due_key, combine_states(user_key, leases_key)) and 'tell' or 'told'
