-- Removes from Redis the last-seen times that PostgreSQL has stored. A time that has changed after it was read is kept.
-- ARGV: pairs of user and the stored time, ms
local last_seen_key = KEYS[1]
for i = 1, #ARGV, 2 do
  local user, ms = unpack(ARGV, i, i + 1)
  if redis.call('HGET', last_seen_key, user) == ms then redis.call('HDEL', last_seen_key, user) end
end
return 1
