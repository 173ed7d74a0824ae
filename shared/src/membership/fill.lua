-- Caches a user's memberships, unless memberships or read positions changed after the caller read them.
-- version, moves: the counters that the caller read before the memberships   After ttl_s: pairs of room and
--   `<role> <read seq>`
-- Answers 1, or 0 if one of the counters has changed.
local rooms_key, version_key, moves_key = unpack(KEYS)
local version, moves, epoch, ttl_s = unpack(ARGV, 1, 4)
local FIRST_PAIR = 5
if (redis.call('GET', version_key) or '0') ~= version then return 0 end
if (redis.call('GET', moves_key) or '0') ~= moves then return 0 end
redis.call('DEL', rooms_key)
redis.call('HSET', rooms_key, '', epoch)
for i = FIRST_PAIR, #ARGV, 2 do redis.call('HSET', rooms_key, ARGV[i], ARGV[i + 1]) end
redis.call('EXPIRE', rooms_key, ttl_s)
return 1
