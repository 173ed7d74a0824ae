-- Moves a cached read position forward.
-- KEYS  1 rooms      ARGV  1 room  2 seq
local value = redis.call('HGET', KEYS[1], ARGV[1])
if not value then return 0 end
local role, seq = string.match(value, '^(%S+) (%d+)$')
if role and tonumber(ARGV[2]) > tonumber(seq) then redis.call('HSET', KEYS[1], ARGV[1], role .. ' ' .. ARGV[2]) end
return 1
