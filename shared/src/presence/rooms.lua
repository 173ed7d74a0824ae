-- The rooms of a user, from the membership cache.
-- KEYS  1 rooms      ARGV  1 epoch  2 most rooms
-- Answers the rooms, with the field '' among them; 'many': more than that; nil: not cached in this epoch.
if redis.call('HGET', KEYS[1], '') ~= ARGV[1] then return false end
if redis.call('HLEN', KEYS[1]) - 1 > tonumber(ARGV[2]) then return 'many' end
return redis.call('HKEYS', KEYS[1])
