-- Appends one event to a room's log. It writes all or nothing, because every check comes before the first write. Only
-- the measured size of the backlog (backlog.lua) is also written when the append is refused.
-- The loaded text begins with `local EPOCH = '<epoch>'`, the ranks of roles (role.rs), rfc3339.lua, tail.lua,
-- backlog.lua, client_ids.lua and `local MAX_SLOW_MODE_S`. A Redis process for which this epoch was not opened does not
-- have a script with this text, so it answers NOSCRIPT.
--
-- room_key: the room's hash, and the name of its channel
-- erased_key: exists while appends of the sender are blocked because the sender is being erased
-- sender: '' for the system's own records   client_id: '' if no client id is to be remembered
-- looked_up: what to do if Redis does not remember the client id: '1' = append; 'new' = append if the client id is
--   certainly new (client_ids.lua), else answer `lookup`; '0' = answer `lookup`; another text is that of an answer
--   `lookup`, after which PostgreSQL did not know the client id: append, or answer `lookup` if this text has changed
-- max_backlog, max_backlog_bytes: appends are refused when the ingest stream has at least this number of records, or
--   records of at least this many bytes; 0 = no limit
-- min_role: lowest rank that the sender needs if the room's hash has a membership mark of the sender; ANYONE: ignore
--   membership marks; ALWAYS: ignore membership marks and the erasure of the sender
-- allowed_in_archive: '1' = allowed in an archived room   header_rest: the header's fields from `room` on (record.rs)
-- message_id: '' if the event is not a message   member: the user whose membership the event changes, or ''
-- new_role: the new role of `member`, or REMOVED
-- members_upto: seq up to which the caller knows the room's memberships; with the prefix 'u', the caller needs only the
--   membership of `member`; '' = the caller needs no membership
-- drops_tail: '1' = drop the tail first, because it may contain the message that this event deletes
-- members_delta: change of the number of members
-- deletes_upto: seq up to which the caller knows which messages are deleted; '' = the caller does not need to know
-- obeys_slow_mode: '1' = the slow mode of the room limits this event
-- imported_at: '' = the event has the present time; else the original time (ms since 1970) of an imported event. Such an
--   event is neither published nor kept in the tail, which is dropped: gateways find the new head, and clients read it
--   as history
-- log_upto: seq up to which the caller knows the log of the room; '' = the caller does not need to know it
-- id_ms: the time in the client id (ms since 1970), if it is a UUIDv7 of a message; else ''
-- From FIRST_SET on: pairs of a field and its new value, for fields of the room's hash that a join returns, and
--   slow_mode_s
--
-- Answers  {'ok', seq, at_ms, ingest id}
--          {'known', seq, at_ms, ingest id, id, epoch}  the client id was accepted before
--          {'seed'}      there is no room hash of this epoch: seed the room, then call again
--          {'lookup', text}  look up the client id in PostgreSQL, then call again with this text as looked_up
--          {'stale', seq}  at this seq a membership changed (above members_upto), a message was deleted (above
--          deletes_upto), or there is an event (above log_upto); the caller must decide again when the event at this
--          seq is stored
--          {'revoked'}   the sender was removed or is being erased
--          {'role'}      the sender's role is below min_role
--          {'slow', ms}  slow mode: the sender may send again after this time
--          {'archived'} {'full'}

local room_key, tail_key, ingest_key, stored_key, sent_key, erased_key = unpack(KEYS)
local sender, client_id, looked_up, max_backlog, max_backlog_bytes, min_role, allowed_in_archive, header_rest,
  json_before_seq, json_after_at, message_id, member, new_role, members_upto, drops_tail, members_delta,
  deletes_upto, obeys_slow_mode, imported_at, log_upto, id_ms = unpack(ARGV, 1, 21)
local FIRST_SET = 22

-- Senders above this number share one field of `{p}:sent:ahead`. Its time is at most MAX_SHARED_AHEAD_MS ahead, because
-- it causes look-ups for all senders.
local MAX_SENDERS_AHEAD = 1000
local MAX_SHARED_AHEAD_MS = 86400 * 1000
-- A membership mark is kept until no cache and no gateway can still hold the membership from before the change.
local MARK_KEPT_S = 2 * 3600
local MARKS_BEFORE_CLEANUP = 2048

-- Removes old membership marks whose events are stored. The first cleanup happens when the hash has
-- MARKS_BEFORE_CLEANUP fields, each further one when the hash has twice as many fields as the last cleanup left.
local function remove_old_marks(checked_at)
  local fields = redis.call('HLEN', room_key)
  if fields < math.max(MARKS_BEFORE_CLEANUP, checked_at) then return end
  local watermark = redis.call('GET', stored_key)
  local before = (tonumber(redis.call('TIME')[1]) - MARK_KEPT_S) * 1000
  local hash = redis.call('HGETALL', room_key)
  for i = 1, #hash, 2 do
    local at = string.sub(hash[i], 1, 5) == 'mark:' and string.match(hash[i + 1], ' (%d+%-%d+) ')
    if at and id_parts(at) < before and covers(watermark, at) then
      redis.call('HDEL', room_key, hash[i])
      fields = fields - 1
    end
  end
  redis.call('HSET', room_key, 'marks_checked_at', 2 * fields)
end

local seq, epoch, bases, archived, tail_part, tail_parts, sender_mark, members_seq, marks_checked_at, marks_since,
  deleted_seq, touched_at, slow_mode_s = unpack(redis.call('HMGET', room_key, 'seq', 'epoch', 'bases', 'archived',
  'tail_part', 'tail_parts', 'mark:' .. sender, 'members_seq', 'marks_checked_at', 'marks_since', 'deleted_seq',
  'touched_at', 'slow_mode_s'))
if epoch ~= EPOCH then return {'seed'} end
min_role = tonumber(min_role)

local clock = redis.call('TIME')
local now_s = tonumber(clock[1])
local now_ms = now_s * 1000 + math.floor(tonumber(clock[2]) / 1000)
local field = client_id ~= ''
  and string.sub(room_key, #'{00}:room:' + 1) .. '\31' .. sender .. '\31' .. client_id

local function read_window(name)
  return redis.call('HMGET', sent_key .. ':' .. name, 'earlier', 'later', 'bytes', 'measured_at', 'new_from', 'begun',
    'ahead', field or '')
end

-- The fields `earlier` and `later` of a window are its neighbours in the list of windows. So the list is read only if
-- the present window has not begun or is not the newest.
local window = string.format('%d', now_s / WINDOW_S)
local windows, newest_fields = {}, read_window(window)
if newest_fields[1] and not newest_fields[2] then
  for name in string.gmatch(newest_fields[1], '%d+') do windows[#windows + 1] = name end
  windows[#windows + 1] = window
else
  windows = redis.call('LRANGE', sent_key, 0, -1)
  local last = windows[#windows]
  if last ~= window then newest_fields = last and read_window(last) or {} end
  -- If the clock was set back by at most one window, the last window of client ids continues, so that the list of
  -- windows stays in order. After a larger jump back a new window begins.
  if last then window = string.format('%d', math.min(math.max(window, last), window + 1)) end
end
-- False if the hash has expired, because a write would create it again, without an expiry.
local window_key = newest_fields[1] and sent_key .. ':' .. windows[#windows]
local bytes, new_from = newest_fields[3], parse_new_from(newest_fields[5])
-- Identifies the oldest window. Its number is not enough, because a later window may get the same number after the
-- clock was set back.
local oldest = '-'
-- Whether the hashes of all windows in the list are there. After a jump of the clock some may have expired.
local complete = true
if field then
  for i = #windows, 1, -1 do
    local fields = i == #windows and newest_fields or read_window(windows[i])
    local entry = fields[8]
    complete = complete and fields[1]
    if i == 1 then oldest = fields[6] or windows[1] end
    if entry then
      local e_seq, e_epoch, e_at, e_ingest, e_id = string.match(entry, '^(%d+) (%d+) (%d+) (%S+) (%S*)$')
      local survived = true
      for epoch, base in string.gmatch(bases or '', '(%d+):(%d+)') do
        if tonumber(epoch) > tonumber(e_epoch) and tonumber(e_seq) > tonumber(base) then survived = false end
      end
      if survived then return {'known', tonumber(e_seq), tonumber(e_at), e_ingest, e_id, e_epoch} end
    end
  end
end

id_ms = tonumber(id_ms)
local ahead_key = sent_key .. ':ahead'
-- The text of the answer `lookup`. While it stays the same, no window was dropped, so Redis remembers every client id
-- that was appended after the look-up began.
local look_up = EPOCH .. ' ' .. oldest

-- Whether the event may be appended although Redis does not remember its client id.
local function is_decided()
  if looked_up == '1' or looked_up == look_up then return true end
  if looked_up ~= 'new' or not id_ms or not new_from or not complete then return false end
  local ahead = newest_fields[7] == '1' and redis.call('HMGET', ahead_key, sender, '') or {}
  return is_new(id_ms, new_from, now_ms, ahead[1], ahead[2])
end

-- Remembers that the client id is ahead of the clock of Redis. Otherwise it would count as new once its window is
-- dropped and Redis shows its time.
local function remember_ahead()
  local name, upto = sender, id_ms
  if redis.call('HLEN', ahead_key) >= MAX_SENDERS_AHEAD and redis.call('HEXISTS', ahead_key, sender) == 0 then
    name, upto = '', math.min(id_ms, now_ms + MAX_SHARED_AHEAD_MS)
  end
  if upto > tonumber(redis.call('HGET', ahead_key, name) or 0) then
    redis.call('HSET', ahead_key, name, string.format('%d', upto))
  end
  redis.call('EXPIRE', ahead_key, ROOM_TTL_S)
end

-- Forgets the senders whose client ids are looked up in any case, because they are older than `from`. Returns '1' if
-- others are left, else ''.
local function drop_old_senders(from)
  local ahead = redis.call('HGETALL', ahead_key)
  local left = ''
  for i = 1, #ahead, 2 do
    if tonumber(ahead[i + 1]) < from then redis.call('HDEL', ahead_key, ahead[i]) else left = '1' end
  end
  if left == '1' then redis.call('EXPIRE', ahead_key, ROOM_TTL_S) end
  return left
end

-- A sender who is being erased is refused whatever the role is, because the gateway may have admitted the request
-- before the erasure began.
if min_role > ALWAYS and sender ~= '' and redis.call('EXISTS', erased_key) == 1 then return {'revoked'} end
local sender_role = sender_mark and min_role > ANYONE and string.match(sender_mark, '^%S+')
if sender_role == REMOVED then return {'revoked'} end
-- `lookup` is answered before the checks below, because these checks are only for new events. A repetition of a stored
-- event must get the answer of the first event.
if client_id ~= '' and not is_decided() then return {'lookup', look_up} end
if sender_role and rank(sender_role) < min_role then return {'role'} end
if archived == '1' and allowed_in_archive ~= '1' then return {'archived'} end
-- The key holds the time of the sender's last message in a room with slow mode.
local slow_s = obeys_slow_mode == '1' and tonumber(slow_mode_s or 0) or 0
local slow_key = slow_s > 0 and sent_key .. ':slow:' .. string.sub(room_key, #'{00}:room:' + 1) .. '\31' .. sender
if slow_key then
  local sent_ms = tonumber(redis.call('GET', slow_key) or 0)
  local wait_ms = sent_ms + slow_s * 1000 - now_ms
  -- A time after the present one was written before the clock was set back, so it does not count.
  if wait_ms > 0 and sent_ms <= now_ms then return {'slow', wait_ms} end
end
if members_upto ~= '' then
  local changed, upto = tonumber(members_seq or 0), tonumber(string.match(members_upto, '%d+$'))
  if changed > upto and string.sub(members_upto, 1, 1) == 'u' then
    -- For a change of one user's membership, only that user's membership mark counts. Membership marks up to the seq
    -- `marks_since` may be lost, so a caller who knows memberships only up to a lower seq is stale.
    local own = redis.call('HGET', room_key, 'mark:' .. member)
    changed = math.max(tonumber(marks_since) or changed, tonumber(string.match(own or '', ' (%d+) ')) or 0)
  end
  if changed > upto then return {'stale', changed} end
end
local deleted = deletes_upto ~= '' and tonumber(deleted_seq or 0) or 0
if deleted > 0 and deleted > tonumber(deletes_upto) then return {'stale', deleted} end
if log_upto ~= '' and tonumber(seq) > tonumber(log_upto) then return {'stale', tonumber(seq)} end
bytes = read_backlog(ingest_key, window_key, bytes, newest_fields[4], tonumber(max_backlog),
  tonumber(max_backlog_bytes), now_s)
if not bytes then return {'full'} end

seq = tonumber(seq) + 1
local imported = imported_at ~= ''
local at_ms = imported and tonumber(imported_at) or now_ms
local header = '1\31' .. EPOCH .. '\31' .. seq .. '\31' .. at_ms .. '\31' .. header_rest
local record = header .. '\n' .. json_before_seq .. seq .. ',"at":"' .. rfc3339(at_ms) .. '"' .. json_after_at

local part, parts, renews
if not imported then
  part, parts, renews = add_to_tail(tail_key, seq, {record}, tail_part, tail_parts, touched_at, now_s, drops_tail == '1')
  if not part then return redis.error_reply(parts) end
end

-- The first write of an imported event, so that Redis refuses the event when memory is full.
local ingest = redis.call('XADD', ingest_key, '*', 'r', record)
bytes = string.format('%d', bytes + #record)
if imported then
  skip_tail(room_key, tail_key, string.format('%d', seq))
else
  write_head(room_key, tail_key, string.format('%d', seq), part, parts, renews, now_s)
end
-- The time is kept for the longest slow mode, so that a longer one applies at once.
if slow_key then redis.call('SET', slow_key, string.format('%d', now_ms), 'EX', MAX_SLOW_MODE_S) end
if ARGV[FIRST_SET] then redis.call('HSET', room_key, unpack(ARGV, FIRST_SET)) end
if drops_tail == '1' then redis.call('HSET', room_key, 'deleted_seq', seq) end
if member ~= '' then
  -- The membership mark contains the seq at which the membership began (0 = unknown), because read marks of an earlier
  -- membership do not count.
  local since = seq
  local own = redis.call('HGET', room_key, 'mark:' .. member) or ''
  if members_delta == '0' and new_role ~= REMOVED and string.match(own, '^%S+') ~= REMOVED then
    since = string.match(own, ' (%d+)$') or 0
  end
  redis.call('HSET', room_key, 'mark:' .. member, new_role .. ' ' .. seq .. ' ' .. ingest .. ' ' .. since,
    'members_seq', seq)
  if members_delta ~= '0' then redis.call('HINCRBY', room_key, 'members', members_delta) end
  remove_old_marks(tonumber(marks_checked_at or 0))
end

if field then
  local key = sent_key .. ':' .. window
  local listed = windows[#windows] == window
  local begins = not listed or not window_key
  local restarts = not new_from
  if restarts then
    -- The windows that were dropped before are unknown. Their client ids are not ahead of the newest window.
    local newest = window
    for _, name in ipairs(windows) do newest = math.max(newest, name) end
    local before = tonumber(string.match(newest_fields[5] or '', ' (%d+)$') or 0)
    new_from = math.max(before, (newest + 1) * WINDOW_S * 1000 + EPOCH_MARGIN_MS)
  end
  if begins then
    bytes = string.format('%d', measure(ingest_key))
    if listed then
      table.remove(windows)
    else
      if windows[1] then redis.call('HSET', sent_key .. ':' .. windows[#windows], 'later', window) end
      redis.call('RPUSH', sent_key, window)
    end
    -- A window is dropped when two windows have begun after it and all its records are stored. Windows are counted
    -- because their ages change when the clock jumps.
    local watermark = redis.call('GET', stored_key)
    while windows[1] do
      local old = sent_key .. ':' .. windows[1]
      local last = redis.call('HGET', old, 'last')
      if last and #windows == 1 then break end
      if last and not covers(watermark, last) then break end
      redis.call('UNLINK', old)
      redis.call('LPOP', sent_key)
      -- Its client ids are older than its end, except those of clients whose clocks are ahead.
      new_from = math.max(new_from, (tonumber(windows[1]) + 1) * WINDOW_S * 1000 + MAX_AHEAD_MS)
      table.remove(windows, 1)
    end
    for _, name in ipairs(windows) do redis.call('EXPIRE', sent_key .. ':' .. name, ROOM_TTL_S) end
    -- Written after the removals, because each append reads all windows that this field names.
    redis.call('HSET', key, 'earlier', table.concat(windows, ' '), 'begun', ingest)
  end
  if begins or restarts then
    redis.call('HSET', key, 'new_from', string.format('%s %d', EPOCH, new_from), 'ahead', drop_old_senders(new_from))
  end
  if id_ms and id_ms > now_ms + MAX_AHEAD_MS then
    remember_ahead()
    redis.call('HSET', key, 'ahead', '1')
  end
  redis.call('HSET', key, field, seq .. ' ' .. EPOCH .. ' ' .. at_ms .. ' ' .. ingest .. ' ' .. message_id, 'last', ingest,
    'bytes', bytes)
  -- The expiry removes the last windows of a partition that gets no further events.
  if begins then redis.call('EXPIRE', key, ROOM_TTL_S) end
elseif window_key then
  redis.call('HSET', window_key, 'bytes', bytes)
end

if not imported then redis.call('PUBLISH', room_key, record) end
return {'ok', seq, at_ms, ingest}
