-- Answers the version of a cached value, as in changed.lua. If the version has expired, the present time becomes the
-- version, so that clients with an earlier version see a difference.
local version_key = KEYS[1]
local version_ttl_s = ARGV[1]
local version = redis.call('GET', version_key)
if version then return tonumber(version) end
local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
-- This write fails when the memory of Redis is full. Then the next caller gets another version, which only causes an
-- unnecessary read of the rooms.
redis.pcall('SET', version_key, string.format('%.0f', now_ms), 'EX', version_ttl_s)
return now_ms
