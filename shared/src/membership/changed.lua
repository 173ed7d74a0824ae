-- Drops what is cached and gives it a later version, which shuts out whoever is about to cache what was before.
-- Versions are times in ms, or one more than the last: none comes twice, also when the last was forgotten.
-- KEYS  1 cached  2 version      ARGV  1 TTL of the version in s
-- Answers the version now.
-- The drop first, because it is the one write that Redis allows when its memory is full; the others may follow it then.
redis.call('UNLINK', KEYS[1])
local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local version = math.max(tonumber(redis.call('GET', KEYS[2]) or 0) + 1, now_ms)
redis.call('SET', KEYS[2], string.format('%.0f', version), 'EX', ARGV[1])
return version
