-- Appends one event to a room's log. All or nothing: every check comes before the first write.
-- The first line of the loaded text is `local EPOCH = '<epoch>'`. A Redis process for which this epoch was not opened
-- does not have a script with this text, so it answers NOSCRIPT.
--
-- KEYS  1 room hash (also the channel)  2 tail  3 ingest  4 stored  5 sent  6 erased: exists while the sender is being
--         erased, and for a while afterwards
-- ARGV  1 sender ('' for the system's own records)
--       2 client id ('' = it is not remembered)
--       3 '1': append even if Redis does not remember the client id; '0': answer `lookup` then
--       4 limit of the ingest stream, records; 0 = none
--       5 lowest role a marked sender needs: 0 guest, 1 member, 2 admin, 3 owner; -1: marks are ignored; -2: erasure of
--         the sender is ignored too
--       6 '1': allowed in an archived room
--       7 rest of the record's header, from the room on (see record.rs)
--       8 JSON before the seq   9 JSON after `at`   10 id of the message, or ''
--       11 user whose membership changes, or ''   12 their new role, or 'removed'
--       13 position up to which the caller knows the room's memberships, or '' = they do not matter; with the prefix
--          'u' only the membership of the user of ARGV 11 matters
--       14 '1': drop the tail first, because it contains the message that this event deletes
--       15 change of the number of members
--       16 position up to which the caller knows the deleted messages, or '' = they do not matter
--       17.. field, value: new values of the room's fields in a join's answer
--
-- Answers  {'ok', seq, at_ms, ingest id}
--          {'known', seq, at_ms, ingest id, id, epoch}  the client id was accepted before
--          {'seed'}      there is no room hash of this epoch: seed the room, then call again
--          {'lookup'}    look up the client id in PostgreSQL, then call again with ARGV 3 = '1'
--          {'stale', seq}  memberships changed at that seq, above ARGV 13, or a message was deleted there, above
--          ARGV 16: decide again when that event is stored
--          {'revoked'} {'role'} {'archived'} {'full'}

local TAIL_EVENTS, TAIL_BYTES, TAIL_IDLE_S = 256, 65536, 600
-- Oldest events that are read in one call when a tail is too large.
local TAIL_TRIM_BATCH = 32
local WINDOW_S = 600
-- Far longer than any backlog lasts: if a hash expired while its records wait, their seqs would be given out twice.
local ROOM_TTL_S = 7 * 86400
-- How often the expiry of the room's hash and tail is renewed: this saves three commands in nearly all appends.
local TOUCH_S = 30
-- Marks of changed memberships are kept until no cache and no gateway can have the state before the change.
local MARK_KEPT_S = 2 * 3600
local MARKS_BEFORE_CLEANUP = 2048

local function id_parts(id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(n)
end

local function covers(watermark, id)
  local epoch, at = string.match(watermark or '', '^(%d+) (%S+)$')
  if epoch ~= EPOCH then return false end
  local ms, n = id_parts(at)
  local id_ms, id_n = id_parts(id)
  return id_ms < ms or (id_ms == ms and id_n <= n)
end

-- Drops marks that are stored and old. Runs when there are many fields, and again when there are twice as many.
local function forget_old_marks(checked_at)
  local fields = redis.call('HLEN', KEYS[1])
  if fields < math.max(MARKS_BEFORE_CLEANUP, checked_at) then return end
  local watermark = redis.call('GET', KEYS[4])
  local before = (tonumber(redis.call('TIME')[1]) - MARK_KEPT_S) * 1000
  local hash = redis.call('HGETALL', KEYS[1])
  for i = 1, #hash, 2 do
    local at = string.sub(hash[i], 1, 5) == 'mark:' and string.match(hash[i + 1], ' (%d+%-%d+) ')
    if at and id_parts(at) < before and covers(watermark, at) then
      redis.call('HDEL', KEYS[1], hash[i])
      fields = fields - 1
    end
  end
  redis.call('HSET', KEYS[1], 'marks_checked_at', 2 * fields)
end

local sender, client_id = ARGV[1], ARGV[2]
local room = redis.call('HMGET', KEYS[1], 'seq', 'epoch', 'bases', 'archived', 'tail_bytes', 'mark:' .. sender,
  'members_seq', 'marks_checked_at', 'marks_since', 'deleted_seq', 'touched_at')
local seq, bases = tonumber(room[1]), room[3] or ''
if room[2] ~= EPOCH then return {'seed'} end

local clock = redis.call('TIME')
local now_s = tonumber(clock[1])
local now_ms = now_s * 1000 + math.floor(tonumber(clock[2]) / 1000)
local window = math.floor(now_s / WINDOW_S)
local windows = redis.call('LRANGE', KEYS[5], 0, -1)
-- Keeps the windows in order when the clock was set back.
if windows[1] then window = math.min(math.max(window, tonumber(windows[#windows])), window + 1) end

local field
if client_id ~= '' then
  field = string.sub(KEYS[1], #'{00}:room:' + 1) .. '\31' .. sender .. '\31' .. client_id
  for i = #windows, 1, -1 do
    local entry = redis.call('HGET', KEYS[5] .. ':' .. windows[i], field)
    if entry then
      local e_seq, e_epoch, e_at, e_ingest, e_id = string.match(entry, '^(%d+) (%d+) (%d+) (%S+) (%S*)$')
      local survived = true
      for epoch, base in string.gmatch(bases, '(%d+):(%d+)') do
        if tonumber(epoch) > tonumber(e_epoch) and tonumber(e_seq) > tonumber(base) then survived = false end
      end
      if survived then return {'known', tonumber(e_seq), tonumber(e_at), e_ingest, e_id, e_epoch} end
    end
  end
end

-- Checked whatever the sender's role is: a request may have been admitted before the erasure began.
if tonumber(ARGV[5]) > -2 and sender ~= '' and redis.call('EXISTS', KEYS[6]) == 1 then return {'revoked'} end
local mark = room[6] and tonumber(ARGV[5]) >= 0 and string.match(room[6], '^%S+')
if mark == 'removed' then return {'revoked'} end
-- This comes before the checks that refuse new events only: a repetition of a stored event gets the first answer.
if client_id ~= '' and ARGV[3] ~= '1' then return {'lookup'} end
if mark then
  local rank = ({guest = 0, admin = 2, owner = 3})[mark] or 1
  if rank < tonumber(ARGV[5]) then return {'role'} end
end
if room[4] == '1' and ARGV[6] ~= '1' then return {'archived'} end
if ARGV[13] ~= '' then
  local changed, upto = tonumber(room[7] or 0), tonumber(string.match(ARGV[13], '%d+$'))
  if changed > upto and string.sub(ARGV[13], 1, 1) == 'u' then
    -- A change of one user's membership: their own mark decides, unless marks were lost since.
    local own = redis.call('HGET', KEYS[1], 'mark:' .. ARGV[11])
    changed = math.max(tonumber(room[9]) or changed, tonumber(string.match(own or '', ' (%d+) ')) or 0)
  end
  if changed > upto then return {'stale', changed} end
end
local deleted = ARGV[16] ~= '' and tonumber(room[10] or 0) or 0
if deleted > 0 and deleted > tonumber(ARGV[16]) then return {'stale', deleted} end
local bound = tonumber(ARGV[4])
if bound > 0 and redis.call('XLEN', KEYS[3]) >= bound then return {'full'} end

seq = seq + 1
local header = '1\31' .. EPOCH .. '\31' .. seq .. '\31' .. now_ms .. '\31' .. ARGV[7]
local record = header .. '\n' .. ARGV[8] .. seq .. ',"at":"' .. rfc3339(now_ms) .. '"' .. ARGV[9]

-- The tail is written first, because it is the only write that can fail (an id not above the last). A lost tail costs a
-- read of PostgreSQL, never an event.
local id = string.format('%d-0', seq)
local added = redis.pcall('XADD', KEYS[2], 'MAXLEN', TAIL_EVENTS, id, 'r', record)
local failed = type(added) == 'table' and added.err
-- Only an id that is not above the last is handled here. Out of memory must end the script before it has written
-- anything, so nothing may be dropped before the first XADD.
if failed and not string.find(failed, 'equal or smaller', 1, true) then return redis.error_reply(failed) end
if failed or ARGV[14] == '1' then
  -- Deletes the whole key, because trimmed entries may stay in the memory of a stream.
  redis.call('DEL', KEYS[2])
  redis.call('XADD', KEYS[2], id, 'r', record)
end
local tail_bytes, tail_events = #record, redis.call('XLEN', KEYS[2])
if tail_events > 1 then tail_bytes = tail_bytes + (tonumber(room[5]) or 0) end
if tail_bytes > TAIL_BYTES then
  -- Trims to three quarters, so that few appends pay for it. `tail_bytes` still counts events that MAXLEN removed: the
  -- sum is never too low, and the loop removes only events that exist.
  local upto = TAIL_BYTES * 3 / 4
  while tail_bytes > upto and tail_events > 1 do
    local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', math.min(TAIL_TRIM_BATCH, tail_events - 1))
    local gone = 0
    while gone < #oldest and tail_bytes > upto do
      gone = gone + 1
      tail_bytes = tail_bytes - #oldest[gone][2][2]
    end
    tail_events = tail_events - gone
    redis.call('XTRIM', KEYS[2], 'MAXLEN', tail_events)
  end
  if tail_events == 1 then tail_bytes = #record end
end
local touched_at = tonumber(room[11]) or 0
local touched = now_s >= touched_at and now_s < touched_at + TOUCH_S
-- A new tail has no time to live yet.
if not touched or tail_events == 1 then redis.call('EXPIRE', KEYS[2], TAIL_IDLE_S) end

local ingest = redis.call('XADD', KEYS[3], '*', 'r', record)
if touched then
  redis.call('HSET', KEYS[1], 'seq', seq, 'tail_bytes', tail_bytes)
else
  redis.call('HSET', KEYS[1], 'seq', seq, 'tail_bytes', tail_bytes, 'touched_at', now_s)
  redis.call('EXPIRE', KEYS[1], ROOM_TTL_S)
end
if ARGV[17] then redis.call('HSET', KEYS[1], unpack(ARGV, 17)) end
if ARGV[14] == '1' then redis.call('HSET', KEYS[1], 'deleted_seq', seq) end
if ARGV[11] ~= '' then
  -- The mark includes the position at which the membership began, if known, because read marks start again there.
  local since = seq
  local own = redis.call('HGET', KEYS[1], 'mark:' .. ARGV[11]) or ''
  if ARGV[15] == '0' and ARGV[12] ~= 'removed' and string.sub(own, 1, 8) ~= 'removed ' then
    since = string.match(own, ' (%d+)$') or 0
  end
  redis.call('HSET', KEYS[1], 'mark:' .. ARGV[11], ARGV[12] .. ' ' .. seq .. ' ' .. ingest .. ' ' .. since,
    'members_seq', seq)
  if ARGV[15] ~= '0' then redis.call('HINCRBY', KEYS[1], 'members', ARGV[15]) end
  forget_old_marks(tonumber(room[8] or 0))
end

if field then
  local key = KEYS[5] .. ':' .. window
  local begins = windows[#windows] ~= tostring(window)
  if begins then
    redis.call('RPUSH', KEYS[5], window)
    -- A window is removed when a whole window has passed after it and all of its records are stored.
    local watermark = redis.call('GET', KEYS[4])
    while windows[1] and tonumber(windows[1]) < window - 1 do
      local old = KEYS[5] .. ':' .. windows[1]
      local last = redis.call('HGET', old, 'last')
      if last and not covers(watermark, last) then break end
      redis.call('UNLINK', old)
      redis.call('LPOP', KEYS[5])
      table.remove(windows, 1)
    end
  end
  redis.call('HSET', key, field, seq .. ' ' .. EPOCH .. ' ' .. now_ms .. ' ' .. ingest .. ' ' .. ARGV[10], 'last', ingest)
  -- The expiry removes the last windows of a partition without further events.
  if begins or not touched then redis.call('EXPIRE', key, ROOM_TTL_S) end
end

redis.call('PUBLISH', KEYS[1], record)
return {'ok', seq, now_ms, ingest}
