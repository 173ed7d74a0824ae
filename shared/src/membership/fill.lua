-- Caches a user's memberships, unless memberships or read positions of the user changed after the caller read them.
-- version, moves: the counters that the caller read before it read the memberships   After ttl_s: pairs of room and
--   `<role> <read seq>`
-- Answers 1, or 0 if one of the counters has changed.
local rooms_key, version_key, moves_key = unpack(KEYS)
local version, moves, epoch, ttl_s = unpack(ARGV, 1, 4)
local FIRST_PAIR, ARGS_PER_CALL = 5, 1000
if (redis.call('GET', version_key) or '0') ~= version then return 0 end
if (redis.call('GET', moves_key) or '0') ~= moves then return 0 end
redis.call('DEL', rooms_key)
redis.call('HSET', rooms_key, '', epoch)
for i = FIRST_PAIR, #ARGV, ARGS_PER_CALL do
  redis.call('HSET', rooms_key, unpack(ARGV, i, math.min(i + ARGS_PER_CALL - 1, #ARGV)))
end
redis.call('EXPIRE', rooms_key, ttl_s)
return 1
