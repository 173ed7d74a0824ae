-- Caches an account, unless the account changed after the caller read it.
-- version: the version that the caller read before it read the account
-- Answers 1, or 0 if the version has changed.
local account_key, version_key = unpack(KEYS)
local version, json, ttl_s = unpack(ARGV)

-- A change raises the version before its COMMIT, and again after it. If the process ends between the two, an account
-- that was read before the COMMIT stays cached. So after a rise an account is cached only briefly. A rise and the
-- COMMIT after it are less than UNCOMMITTED_MS apart, because statements have a time limit.
local UNCOMMITTED_MS, BRIEF_TTL_S = 60000, 5

local present = redis.call('GET', version_key) or '0'
if present ~= version then return 0 end
-- A version is the time of its rise, or one above the version before.
local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
if now_ms < tonumber(present) + UNCOMMITTED_MS then ttl_s = BRIEF_TTL_S end
redis.call('SET', account_key, json, 'EX', ttl_s)
return 1
