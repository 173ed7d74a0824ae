-- The version of something cached, as changed.lua gives them; begun now where it was forgotten, so that whoever holds an
-- earlier one sees a difference.
-- KEYS  1 version      ARGV  1 TTL of the version in s
local version = redis.call('GET', KEYS[1])
if version then return tonumber(version) end
local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
-- A full memory takes no write: then the next to ask is given a later one, and looks once too often.
redis.pcall('SET', KEYS[1], string.format('%.0f', now_ms), 'EX', ARGV[1])
return now_ms
