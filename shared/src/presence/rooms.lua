-- Reads the rooms of a user from the membership cache.
-- Answers the rooms and one empty name; 'many' if there are more than max_rooms rooms; nil if the rooms are not cached
-- in this epoch.
local rooms_key = KEYS[1]
local epoch, max_rooms = unpack(ARGV)
if redis.call('HGET', rooms_key, '') ~= epoch then return false end
if redis.call('HLEN', rooms_key) - 1 > tonumber(max_rooms) then return 'many' end
return redis.call('HKEYS', rooms_key)
