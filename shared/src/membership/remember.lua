-- Caches an account, unless it changed since it was read.
-- KEYS  1 account  2 version      ARGV  1 version, read before the account  2 JSON  3 TTL in s
-- Answers 1, or 0 if the version has changed.
if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
