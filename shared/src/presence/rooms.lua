-- The rooms of a user, from the membership cache.
-- KEYS  1 rooms      ARGV  1 epoch  2 most rooms
-- Answers the rooms, including the field ''; 'many': there are more rooms; nil: not cached in this epoch.
if redis.call('HGET', KEYS[1], '') ~= ARGV[1] then return false end
if redis.call('HLEN', KEYS[1]) - 1 > tonumber(ARGV[2]) then return 'many' end
return redis.call('HKEYS', KEYS[1])
