-- Writes a room's head in the present epoch, where the hash still is what the seed read.
-- The first line of the loaded text is `local EPOCH = '<epoch>'` (see append.lua).
--
-- KEYS  1 room hash  2 tail
-- ARGV  1 epoch and 2 seq that the seed read ('' and '' = there was no hash)
--       3 seq to go on from  4 bases `epoch:base,…`
--       5 what of the hash survives: '3' all of it, and the tail; '2' all of it; '1' marks up to ARGV 3; '0' nothing,
--       since what is stored is ahead of it
--       6.. field, value of what a join tells of the room (kind, name, members, archived)
--
-- Answers  'ok', or 'changed': read again

local ROOM_TTL_S = 7 * 86400

local room = redis.call('HMGET', KEYS[1], 'epoch', 'seq')
if (room[1] or '') ~= ARGV[1] or (room[2] or '') ~= ARGV[2] then return 'changed' end
local survives = tonumber(ARGV[5])
if survives < 2 then
  redis.call('HSET', KEYS[1], 'epoch', EPOCH, 'seq', ARGV[3], 'bases', ARGV[4], 'members_seq', ARGV[3],
    'marks_since', ARGV[3], 'deleted_seq', ARGV[3], unpack(ARGV, 6))
  -- Marks of a history that was given up say nothing; those of what goes on may not be stored yet. Where what is stored
  -- is ahead, a mark may tell what a later change took back: then PostgreSQL alone is asked.
  local hash = redis.call('HGETALL', KEYS[1])
  for i = 1, #hash, 2 do
    local at = string.sub(hash[i], 1, 5) == 'mark:' and tonumber(string.match(hash[i + 1], ' (%d+) ') or nil)
    if at and (survives == 0 or at > tonumber(ARGV[3])) then redis.call('HDEL', KEYS[1], hash[i]) end
  end
else
  -- What the hash tells of the room may be ahead of what is stored.
  redis.call('HSET', KEYS[1], 'epoch', EPOCH, 'seq', ARGV[3], 'bases', ARGV[4])
  for i = 6, #ARGV, 2 do redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1]) end
  redis.call('HSETNX', KEYS[1], 'members_seq', ARGV[3])
end
if survives < 3 then
  redis.call('DEL', KEYS[2])
  redis.call('HDEL', KEYS[1], 'tail_bytes')
end
redis.call('EXPIRE', KEYS[1], ROOM_TTL_S)
return 'ok'
