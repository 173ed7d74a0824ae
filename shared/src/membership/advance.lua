-- Moves a cached read position forward, and invalidates fills in progress, because they may have read an older
-- position.
-- KEYS  1 rooms  2 moves      ARGV  1 room  2 seq  3 TTL of the counter in s
redis.call('INCR', KEYS[2])
redis.call('EXPIRE', KEYS[2], ARGV[3])
local value = redis.call('HGET', KEYS[1], ARGV[1])
if not value then return 0 end
local role, seq = string.match(value, '^(%S+) (%d+)$')
if role and tonumber(ARGV[2]) > tonumber(seq) then redis.call('HSET', KEYS[1], ARGV[1], role .. ' ' .. ARGV[2]) end
return 1
