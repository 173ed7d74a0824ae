-- Caches an account, unless the account changed after the caller read it.
-- version: the version that the caller read before it read the account
-- Answers 1, or 0 if the version has changed.
local account_key, version_key = unpack(KEYS)
local version, json, ttl_s = unpack(ARGV)

-- A change increases the version before its COMMIT, and again after it. If the process ends between COMMIT and the
-- second increase, an account that was read before the COMMIT stays cached. So soon after an increase an account is
-- cached only briefly. The COMMIT comes less than UNCOMMITTED_MS after the first increase, because statements have a
-- time limit.
local UNCOMMITTED_MS, BRIEF_TTL_S = 60000, 5

local present = redis.call('GET', version_key) or '0'
if present ~= version then return 0 end
-- A version is the time of its last increase, or the previous version plus one.
local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
if now_ms < tonumber(present) + UNCOMMITTED_MS then ttl_s = BRIEF_TTL_S end
redis.call('SET', account_key, json, 'EX', ttl_s)
return 1
