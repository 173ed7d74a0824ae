-- Caches an account, unless it changed since it was read.
-- version: as read before the account
-- Answers 1, or 0 if the version has changed.
local account_key, version_key = unpack(KEYS)
local version, json, ttl_s = unpack(ARGV)
if (redis.call('GET', version_key) or '0') ~= version then return 0 end
redis.call('SET', account_key, json, 'EX', ttl_s)
return 1
