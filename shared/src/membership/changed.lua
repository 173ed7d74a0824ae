-- Drops a cached value and raises its version, which invalidates fills in progress.
-- A version is the time in ms, or one more than the last version, so that no version is used twice, even after it
-- expired.
-- KEYS  1 cached  2 version      ARGV  1 TTL of the version in s
-- Answers the new version.
-- UNLINK comes first, because Redis allows only this write when its memory is full; then the others may follow it.
redis.call('UNLINK', KEYS[1])
local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local version = math.max(tonumber(redis.call('GET', KEYS[2]) or 0) + 1, now_ms)
redis.call('SET', KEYS[2], string.format('%.0f', version), 'EX', ARGV[1])
return version
