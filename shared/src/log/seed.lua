-- Writes a room's head in the present epoch, if the hash is still what the seed has read.
-- The first line of the loaded text is `local EPOCH = '<epoch>'` (see append.lua).
--
-- KEYS  1 room hash  2 tail
-- ARGV  1 epoch and 2 seq that the seed has read ('' and '' = there was no hash)
--       3 seq to continue from  4 bases `epoch:base,…`
--       5 what survives: '3' the hash and the tail; '2' the hash; '1' marks up to ARGV 3; '0' nothing, because
--       PostgreSQL is ahead of the hash
--       6.. field, value: the room's fields of a join's answer (kind, name, members, archived)
--
-- Answers  'ok', or 'changed': the caller must read again

local ROOM_TTL_S = 7 * 86400

local room = redis.call('HMGET', KEYS[1], 'epoch', 'seq')
if (room[1] or '') ~= ARGV[1] or (room[2] or '') ~= ARGV[2] then return 'changed' end
local survives = tonumber(ARGV[5])
if survives < 2 then
  redis.call('HSET', KEYS[1], 'epoch', EPOCH, 'seq', ARGV[3], 'bases', ARGV[4], 'members_seq', ARGV[3],
    'marks_since', ARGV[3], 'deleted_seq', ARGV[3], unpack(ARGV, 6))
  -- Marks above ARGV 3 belong to an abandoned history and are removed. Marks up to it may not be stored yet and stay.
  -- If PostgreSQL is ahead, a later change may have reverted what a mark says, so all marks are removed.
  local hash = redis.call('HGETALL', KEYS[1])
  for i = 1, #hash, 2 do
    local at = string.sub(hash[i], 1, 5) == 'mark:' and tonumber(string.match(hash[i + 1], ' (%d+) ') or nil)
    if at and (survives == 0 or at > tonumber(ARGV[3])) then redis.call('HDEL', KEYS[1], hash[i]) end
  end
else
  -- Existing fields are kept, because the hash may be ahead of PostgreSQL.
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
