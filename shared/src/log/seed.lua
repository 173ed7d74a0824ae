-- Writes a room's head in the present epoch, where the hash still is what the seed read.
-- The first line of the loaded text is `local EPOCH = '<epoch>'` (see append.lua).
--
-- KEYS  1 room hash  2 tail
-- ARGV  1 epoch and 2 seq that the seed read ('' and '' = there was no hash)
--       3 seq to go on from  4 bases `epoch:base,…`  5 '1': the tail is good up to that seq
--       6.. field, value of what a join tells of the room (kind, name, members, archived)
--
-- Answers  'ok', or 'changed': read again

local ROOM_TTL_S = 7 * 86400

local room = redis.call('HMGET', KEYS[1], 'epoch', 'seq')
if (room[1] or '') ~= ARGV[1] or (room[2] or '') ~= ARGV[2] then return 'changed' end
redis.call('HSET', KEYS[1], 'epoch', EPOCH, 'seq', ARGV[3], 'bases', ARGV[4], unpack(ARGV, 6))
if ARGV[5] ~= '1' then
  redis.call('DEL', KEYS[2])
  redis.call('HDEL', KEYS[1], 'tail_bytes')
end
redis.call('EXPIRE', KEYS[1], ROOM_TTL_S)
return 'ok'
