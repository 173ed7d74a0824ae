-- Appends messages of many rooms in the usual case: the room is seeded, open and without slow mode, the senders may
-- send, and each client id is certainly new. If a message needs more checks, neither this message nor the later
-- messages of its room are appended. No message of a partition is appended if the window of client ids has not begun or
-- is not the newest, if the backlog has no space, or if one of the senders is being erased. append.lua decides about
-- all these messages. Every check comes before the first write.
-- The loaded text begins like that of append.lua, but without backlog.lua.
--
-- KEYS: ingest_key and sent_key of each partition, the room's key and the tail's key of each room, then the `erased`
-- key of each sender in each partition
-- second, second_text: the second that the caller expects, as Unix time and as RFC 3339 text without fraction and zone;
--   saves formatting the time
-- max_backlog, max_backlog_bytes: as in append.lua; the bytes of this call may exceed the limit
-- partitions: the number of partitions of the messages
-- From FIRST_PARTITION on, for each partition: the number of its rooms, and for each room: the number of its messages,
--   the JSON of a message up to its seq, and for each message: sent_field (room \31 sender \31 client id), mark_field (of
--   the sender's mark), min_role, header_rest, json_after_at, message_id, id_ms (as in append.lua; negative if the
--   sender says that it never sent this client id before)
--
-- Answers  at_ms, then for each message in order: seq and ingest id, or 0 and '' if the message was not appended;
--          only at_ms if no message was appended
-- Notice   All new records of a room in one published payload (`Record::split_payload`)

local second, second_text, max_backlog, max_backlog_bytes, partitions = unpack(ARGV, 1, 5)
local FIRST_PARTITION, ROOM_ARGS, MESSAGE_ARGS = 6, 2, 7
partitions, max_backlog, max_backlog_bytes = tonumber(partitions), tonumber(max_backlog), tonumber(max_backlog_bytes)

local clock = redis.call('TIME')
local now_s = tonumber(clock[1])
local now_ms = now_s * 1000 + math.floor(tonumber(clock[2]) / 1000)
local window = ':' .. math.floor(now_s / WINDOW_S)

-- Returns for each message of a partition whether its client id is new, or nil if append.lua must decide. `places` has
-- the index of each message's first argument, and `fields` its sent_field. The current window must have a hash
-- (`earlier`: the windows before it), and no newer window may have begun (`later`). append.lua writes these fields.
-- Also returns the field `bytes` of the window (backlog.lua).
local function new_ids(ingest_key, sent_key, fields, places)
  if max_backlog > 0 and redis.call('XLEN', ingest_key) + #fields > max_backlog then return nil end
  local known =
    redis.call('HMGET', sent_key .. window, 'earlier', 'later', 'bytes', 'new_from', 'ahead', unpack(fields))
  if not known[1] or known[2] then return nil end
  local bytes, new_from, ahead = tonumber(known[3]), parse_new_from(known[4]), {}
  if not bytes or max_backlog_bytes > 0 and bytes >= max_backlog_bytes then return nil end
  if not new_from then return nil end
  if known[5] == '1' then
    local senders = {''}
    for i = 1, #fields do senders[i + 1] = string.sub(ARGV[places[i] + 1], #'mark:' + 1) end
    ahead = redis.call('HMGET', sent_key .. ':ahead', unpack(senders))
  end
  local new = {}
  for i = 1, #fields do
    local id_ms = tonumber(ARGV[places[i] + 6])
    new[i] = not known[i + 5]
    -- append.lua remembers senders whose client ids are ahead, also those of first attempts.
    if id_ms and id_ms < 0 then
      new[i] = new[i] and -id_ms <= now_ms + MAX_AHEAD_MS
    elseif id_ms then
      new[i] = new[i] and is_new(id_ms, new_from, now_ms, ahead[i + 1], ahead[1])
    end
  end
  for earlier in string.gmatch(known[1], '%d+') do
    known = redis.call('HMGET', sent_key .. ':' .. earlier, 'earlier', unpack(fields))
    -- After a jump of the clock a window may have expired.
    if not known[1] then return nil end
    for i = 1, #fields do new[i] = new[i] and not known[i + 1] end
  end
  return new, bytes
end

-- Returns how many messages of a room are appended, and four fields of its hash: seq, tail_part, tail_parts,
-- touched_at. `place` is the index of the room's first argument. `new` and `fields` have an entry for each message
-- of the partition; the entries of this room begin after the index `before`. `taken` has the client ids of this call.
local function decide(room_key, place, new, fields, before, taken)
  local messages, marks = tonumber(ARGV[place]), {}
  for i = 1, messages do marks[i] = ARGV[place + ROOM_ARGS + (i - 1) * MESSAGE_ARGS + 1] end
  local head = redis.call('HMGET', room_key, 'seq', 'epoch', 'archived', 'slow_mode_s', 'tail_part', 'tail_parts',
    'touched_at', unpack(marks))
  local count = 0
  if head[2] == EPOCH and head[3] ~= '1' and tonumber(head[4] or 0) == 0 then
    for i = 1, messages do
      local mark, min_role = head[7 + i], tonumber(ARGV[place + ROOM_ARGS + (i - 1) * MESSAGE_ARGS + 2])
      local role = mark and min_role > ANYONE and string.match(mark, '^%S+')
      local field = fields[before + i]
      if not new[before + i] or taken[field] or role and (role == REMOVED or rank(role) < min_role) then break end
      taken[field] = true
      count = i
    end
  end
  return {count, head[1], head[5], head[6], head[7]}
end

local decisions, backlogs, place, room_at, any = {}, {}, FIRST_PARTITION, 2 * partitions + 1, false
for partition = 1, partitions do
  local rooms, fields, places = tonumber(ARGV[place]), {}, {}
  local first = place + 1
  place = first
  for _ = 1, rooms do
    local next_room = place + ROOM_ARGS + tonumber(ARGV[place]) * MESSAGE_ARGS
    for i = place + ROOM_ARGS, next_room - 1, MESSAGE_ARGS do
      fields[#fields + 1], places[#places + 1] = ARGV[i], i
    end
    place = next_room
  end
  -- A key of a wrong type must affect only its own partition or room. append.lua reports the error to its senders.
  local read, new, bytes = pcall(new_ids, KEYS[2 * partition - 1], KEYS[2 * partition], fields, places)
  backlogs[partition] = bytes
  local taken, before, at = {}, 0, first
  for _ = 1, rooms do
    local decided, decision = read and new, {0}
    if decided then decided, decision = pcall(decide, KEYS[room_at], at, new, fields, before, taken) end
    if not decided then decision = {0} end
    any = any or decision[1] > 0
    decisions[#decisions + 1] = decision
    local messages = tonumber(ARGV[at])
    before, at, room_at = before + messages, at + ROOM_ARGS + messages * MESSAGE_ARGS, room_at + 2
  end
end
if not any then return {now_ms} end

-- The partitions in which a sender is being erased. The remaining KEYS are the `erased` keys.
local erasing = {}
if redis.call('EXISTS', unpack(KEYS, room_at)) > 0 then
  for i = room_at, #KEYS do
    if redis.call('EXISTS', KEYS[i]) > 0 then erasing[string.sub(KEYS[i], 1, 4)] = true end
  end
end

local at = clock[1] == second and string.format('%s.%03dZ', second_text, now_ms % 1000) or rfc3339(now_ms)
local at_ms = string.format('%d', now_ms)
local before_seq, after_seq, before_json = '1\31' .. EPOCH .. '\31', '\31' .. at_ms .. '\31', ',"at":"' .. at .. '"'
local after_sent_seq = ' ' .. EPOCH .. ' ' .. at_ms .. ' '
local answer, answered = {now_ms}, 1

-- Appends the messages of a room that `decide` accepted. Adds their client ids and positions to `sent`. Returns the
-- last ingest id and the bytes of the records, or nil and an error message.
local function append(room_key, tail_key, ingest_key, place, decision, sent)
  local count, seq, part, parts, touched_at = unpack(decision, 1, 5)
  local json_before_seq, records, texts = ARGV[place + 1], {}, {}
  for i = 1, count do
    local base = place + ROOM_ARGS + (i - 1) * MESSAGE_ARGS
    local text = string.format('%d', seq + i)
    texts[i] = text
    records[i] = before_seq .. text .. after_seq .. ARGV[base + 3] .. '\n' .. json_before_seq .. text .. before_json ..
      ARGV[base + 4]
  end
  local new_part, new_parts, renews = add_to_tail(tail_key, seq + 1, records, part, parts, touched_at, now_s)
  if not new_part then return nil, new_parts end
  local lengths, last, n, bytes = {'2'}, nil, #sent, 0
  for i = 1, count do
    local base = place + ROOM_ARGS + (i - 1) * MESSAGE_ARGS
    last = redis.call('XADD', ingest_key, '*', 'r', records[i])
    answer[answered + 1], answer[answered + 2] = seq + i, last
    answered = answered + 2
    sent[n + 1], sent[n + 2] = ARGV[base], texts[i] .. after_sent_seq .. last .. ' ' .. ARGV[base + 5]
    n = n + 2
    bytes = bytes + #records[i]
    if count > 1 then lengths[i + 1] = string.format('%d', #records[i]) end
  end
  write_head(room_key, tail_key, texts[count], new_part, new_parts, renews, now_s)
  if count == 1 then
    redis.call('PUBLISH', room_key, records[1])
  else
    redis.call('PUBLISH', room_key, table.concat(lengths, '\31') .. '\n' .. table.concat(records))
  end
  return last, bytes
end

local room = 0
place = FIRST_PARTITION
for partition = 1, partitions do
  local rooms, sent, last, bytes = tonumber(ARGV[place]), {}, nil, backlogs[partition]
  local stopped = erasing[string.sub(KEYS[2 * partition], 1, 4)]
  place = place + 1
  for _ = 1, rooms do
    room = room + 1
    local decision, key = decisions[room], 2 * (partitions + room)
    if stopped then decision[1] = 0 end
    if decision[1] > 0 then
      local id, added = append(KEYS[key - 1], KEYS[key], KEYS[2 * partition - 1], place, decision, sent)
      -- A tail of a wrong type affects this room only. Any other error can only come from the script's first write, so
      -- the script has written nothing.
      if not id and not string.find(added, 'WRONGTYPE', 1, true) then return redis.error_reply(added) end
      if id then last, bytes = id, bytes + added else decision[1] = 0 end
    end
    local messages = tonumber(ARGV[place])
    for _ = decision[1] + 1, messages do
      answer[answered + 1], answer[answered + 2] = 0, ''
      answered = answered + 2
    end
    place = place + ROOM_ARGS + messages * MESSAGE_ARGS
  end
  if last then
    redis.call('HSET', KEYS[2 * partition] .. window, 'last', last, 'bytes', string.format('%d', bytes), unpack(sent))
  end
end
return answer
