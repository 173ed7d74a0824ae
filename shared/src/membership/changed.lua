-- Drops a cached value and raises its version, which invalidates fills in progress.
-- A version is the time in ms, or one more than the last version, so that no version is used twice, even after it
-- expired.
-- Answers the new version.
-- UNLINK comes first, because Redis allows it even when its memory is full. After this first write Redis allows the
-- others too.
local cached_key, version_key = unpack(KEYS)
local version_ttl_s = ARGV[1]
redis.call('UNLINK', cached_key)
local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local version = math.max(tonumber(redis.call('GET', version_key) or 0) + 1, now_ms)
redis.call('SET', version_key, string.format('%.0f', version), 'EX', version_ttl_s)
return version
