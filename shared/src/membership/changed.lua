-- Drops what is cached and counts up its version, which shuts out whoever is about to cache what was before.
-- KEYS  1 cached  2 version      ARGV  1 TTL of the version in s
-- Answers the version now.
-- The drop first, because it is the one write that Redis allows when its memory is full; the others may follow it then.
redis.call('UNLINK', KEYS[1])
local version = redis.call('INCR', KEYS[2])
redis.call('EXPIRE', KEYS[2], ARGV[1])
return version
