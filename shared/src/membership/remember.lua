-- Caches an account, unless the account changed after the caller read it.
-- version: the version that the caller read before it read the account
-- Answers 1, or 0 if the version has changed.
local account_key, version_key = unpack(KEYS)
local version, json, ttl_s = unpack(ARGV)
if (redis.call('GET', version_key) or '0') ~= version then return 0 end
redis.call('SET', account_key, json, 'EX', ttl_s)
return 1
