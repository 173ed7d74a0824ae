-- Fills a user's membership cache unless their memberships changed since they were read.
-- KEYS  1 rooms  2 version      ARGV  1 version read before  2 epoch  3 TTL in s  4.. room, value pairs
-- Answers 1, or 0 when the version is another by now.
if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], '', ARGV[2])
for i = 4, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
