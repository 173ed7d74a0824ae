-- Removes from Redis the last-seen times that PostgreSQL has stored. A time that has changed since then is kept.
-- ARGV: pairs of user and the stored time, ms
local gone_key = KEYS[1]
for i = 1, #ARGV, 2 do
  local user, ms = unpack(ARGV, i, i + 1)
  if redis.call('HGET', gone_key, user) == ms then redis.call('HDEL', gone_key, user) end
end
return 1
