-- What a life of a node holds of a user, from now on.
-- KEYS  1 user  2 due  3 lives  4 users of the life
-- ARGV  1 user  2 life  3 o, a, or '': nothing any more  4 o, a: what goes on for the grace, since a connection closed,
--       or ''  5 '1': a reaper takes away what a life that is over held
-- Answers 'told': nothing to tell; 'tell': to be told; 'over': this life is over, begin another.
local user, life, status, grace = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lease = lease_of(KEYS[3], life)
if ARGV[5] == '1' then
  if is_alive(lease) then return 'told' end
elseif not is_alive(lease) then
  return 'over'
end
if status == '' then
  if redis.call('HDEL', KEYS[1], 'n:' .. life) == 1 then
    local seen = ARGV[5] == '1' and math.abs(lease) - LEASE_MS or now
    local before = tonumber(redis.call('HGET', KEYS[1], 'seen')) or 0
    redis.call('HSET', KEYS[1], 'seen', integer(math.max(seen, before)))
  end
  redis.call('SREM', KEYS[4], user)
else
  redis.call('HSET', KEYS[1], 'n:' .. life, status)
  redis.call('SADD', KEYS[4], user)
end
if grace ~= '' then
  redis.call('HSET', KEYS[1], 'x:' .. grace, grace .. ' ' .. integer(now + GRACE_MS) .. ' ' .. integer(now))
end
return settle(user, KEYS[1], KEYS[2], weigh(KEYS[1], KEYS[3])) and 'tell' or 'told'
