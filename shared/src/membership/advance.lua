-- Moves a cached read position forward. Increments the counter of moves, so that fill.lua refuses memberships that were
-- read with an older position.
local rooms_key, moves_key = unpack(KEYS)
local room, seq, counter_ttl_s = unpack(ARGV)
redis.call('INCR', moves_key)
redis.call('EXPIRE', moves_key, counter_ttl_s)
local value = redis.call('HGET', rooms_key, room)
if not value then return 0 end
local role, cached_seq = string.match(value, '^(%S+) (%d+)$')
if role and tonumber(seq) > tonumber(cached_seq) then redis.call('HSET', rooms_key, room, role .. ' ' .. seq) end
return 1
