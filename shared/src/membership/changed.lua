-- Drops a cached value and raises its version, so that a value that was read before the change is not cached.
-- A version is the present time in ms, or the last version plus one if that is higher. So no version is used twice,
-- even after an earlier version has expired.
-- Answers the new version.
-- UNLINK comes first, because Redis allows UNLINK even when its memory is full, and then allows the later writes of the
-- same script too.
local cached_key, version_key = unpack(KEYS)
local version_ttl_s = ARGV[1]
redis.call('UNLINK', cached_key)
local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local version = math.max(tonumber(redis.call('GET', version_key) or 0) + 1, now_ms)
redis.call('SET', version_key, string.format('%.0f', version), 'EX', version_ttl_s)
return version
