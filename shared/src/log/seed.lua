-- Seeds a room: writes its head for the present epoch, if the room's hash still has the epoch and seq that the caller
-- read.
-- The loaded text begins with `local EPOCH`, as in append.lua.
--
-- known_epoch, known_seq: epoch and seq that the caller read in the hash ('' and '' = there was no hash)
-- seq: the head from which the numbering continues   bases: `epoch:base,…`
-- survives: the data of earlier epochs to keep: '3' the hash and the tail; '2' the hash; '1' membership marks up to
--   `seq`; '0' nothing, because PostgreSQL is ahead of the hash
-- From FIRST_FIELD on: pairs of field and value: the room's fields that a join returns (kind, name, members, archived),
--   and slow_mode_s
--
-- Answers  'ok', or 'changed' if the hash has changed: the caller must read it again

local room_key, tail_key = unpack(KEYS)
local known_epoch, known_seq, seq, bases, survives = unpack(ARGV, 1, 5)
local FIRST_FIELD = 6

local ROOM_TTL_S = 7 * 86400

local epoch, present_seq = unpack(redis.call('HMGET', room_key, 'epoch', 'seq'))
if (epoch or '') ~= known_epoch or (present_seq or '') ~= known_seq then return 'changed' end
survives = tonumber(survives)
if survives < 2 then
  redis.call('HSET', room_key, 'epoch', EPOCH, 'seq', seq, 'bases', bases, 'members_seq', seq,
    'marks_since', seq, 'deleted_seq', seq, unpack(ARGV, FIRST_FIELD))
  -- Membership marks above `seq` are of events that the new epoch does not have, so they are removed. Marks up to `seq`
  -- stay, because their events may not be stored yet. If PostgreSQL is ahead of the hash, its events may contradict the
  -- marks, so all marks are removed.
  local hash = redis.call('HGETALL', room_key)
  for i = 1, #hash, 2 do
    local at = string.sub(hash[i], 1, 5) == 'mark:' and tonumber(string.match(hash[i + 1], ' (%d+) ') or nil)
    if at and (survives == 0 or at > tonumber(seq)) then redis.call('HDEL', room_key, hash[i]) end
  end
else
  -- Existing fields are kept, because the hash may be ahead of PostgreSQL, from which the caller read the values.
  redis.call('HSET', room_key, 'epoch', EPOCH, 'seq', seq, 'bases', bases)
  for i = FIRST_FIELD, #ARGV, 2 do redis.call('HSETNX', room_key, ARGV[i], ARGV[i + 1]) end
  redis.call('HSETNX', room_key, 'members_seq', seq)
end
if survives < 3 then
  redis.call('DEL', tail_key)
  redis.call('HDEL', room_key, 'tail_bytes', 'tail_part', 'tail_parts', 'touched_at')
end
redis.call('EXPIRE', room_key, ROOM_TTL_S)
return 'ok'
