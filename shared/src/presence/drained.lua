-- Removes from Redis the last-seen time of a user that PostgreSQL has stored. A time that has changed after it was read
-- is kept.
local last_seen_key = KEYS[1]
local user, ms = unpack(ARGV)
if redis.call('HGET', last_seen_key, user) == ms then redis.call('HDEL', last_seen_key, user) end
return 1
