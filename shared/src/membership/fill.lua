-- Fills a user's membership cache, unless memberships or read positions changed since they were read.
-- KEYS  1 rooms  2 version  3 moves
-- ARGV  1 version and 2 moves, read before the memberships  3 epoch  4 TTL in s  5.. room, value pairs
-- Answers 1, or 0 if one of the counters has changed.
if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[1] then return 0 end
if (redis.call('GET', KEYS[3]) or '0') ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], '', ARGV[3])
for i = 5, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
