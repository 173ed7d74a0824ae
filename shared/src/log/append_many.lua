-- Appends messages of rooms of one partition in the usual case: the room is seeded and not archived, the senders may
-- send, and no client id was used before. If a message needs more, neither this message nor the later messages of its
-- room are appended. The whole call appends nothing if the present window of client ids has not begun or is not the
-- newest, if a sender is being erased, or if the backlog has no space. append.lua then decides about the messages that
-- were not appended. Every check comes before the first write.
-- The loaded text begins with the same lines as that of append.lua.
--
-- After ingest_key and sent_key: the room's key and the tail's key of each room, then the `erased` key of each sender
-- second, second_text: the second that the caller expects, as Unix time and as RFC 3339 text without fraction and zone,
--   so that the script need not compute the text   max_backlog: as in append.lua   rooms: the number of rooms
-- From FIRST_ROOM on, for each room: the number of its messages, the JSON of a message up to its seq, and for each
--   message: sent_field (room \31 sender \31 client id), mark_field (of the sender's membership mark), min_role,
--   header_rest, json_after_at, message_id
--
-- Answers  at_ms, then for each message in order: seq and ingest id, or 0 and '' if the message was not appended;
--          only at_ms if no message was appended
-- Notice   All new records of a room in one published payload (`Record::split`)

local ingest_key, sent_key = unpack(KEYS, 1, 2)
local second, second_text, max_backlog, rooms = unpack(ARGV, 1, 4)
local FIRST_KEY, FIRST_ROOM, ROOM_ARGS, MESSAGE_ARGS = 3, 5, 2, 6
rooms = tonumber(rooms)

local WINDOW_S = 600

local clock = redis.call('TIME')
local now_s = tonumber(clock[1])
local now_ms = now_s * 1000 + math.floor(tonumber(clock[2]) / 1000)
local at = clock[1] == second and string.format('%s.%03dZ', second_text, now_ms % 1000) or rfc3339(now_ms)

local fields = {}
local place = FIRST_ROOM
for _ = 1, rooms do
  local messages = tonumber(ARGV[place])
  place = place + ROOM_ARGS
  for _ = 1, messages do
    fields[#fields + 1] = ARGV[place]
    place = place + MESSAGE_ARGS
  end
end

if redis.call('EXISTS', unpack(KEYS, FIRST_KEY + 2 * rooms)) > 0 then return {now_ms} end
max_backlog = tonumber(max_backlog)
if max_backlog > 0 and redis.call('XLEN', ingest_key) + #fields > max_backlog then return {now_ms} end

-- append.lua writes the fields `earlier` (the windows before this one) and `later` (the window after it). The call
-- continues only if the present window has begun and no newer window has begun.
local window_key = sent_key .. ':' .. math.floor(now_s / WINDOW_S)
local known = redis.call('HMGET', window_key, 'earlier', 'later', unpack(fields))
if not known[1] or known[2] then return {now_ms} end
local unknown = {}
for i = 1, #fields do unknown[i] = not known[i + 2] end
for earlier in string.gmatch(known[1], '%d+') do
  known = redis.call('HMGET', sent_key .. ':' .. earlier, unpack(fields))
  for i = 1, #fields do unknown[i] = unknown[i] and not known[i] end
end

-- Decides how many messages of each room are appended.
local heads, taken = {}, {}
local message = 0
place = FIRST_ROOM
for room = 1, rooms do
  local messages = tonumber(ARGV[place])
  local marks = {}
  for i = 1, messages do marks[i] = ARGV[place + ROOM_ARGS + (i - 1) * MESSAGE_ARGS + 1] end
  local head = redis.call('HMGET', KEYS[FIRST_KEY + 2 * (room - 1)], 'seq', 'epoch', 'archived', 'tail_bytes',
    'touched_at', unpack(marks))
  local count = 0
  if head[2] == EPOCH and head[3] ~= '1' then
    for i = 1, messages do
      local mark, min_role = head[5 + i], tonumber(ARGV[place + ROOM_ARGS + (i - 1) * MESSAGE_ARGS + 2])
      local role = mark and min_role > ANYONE and string.match(mark, '^%S+')
      local field = fields[message + i]
      if not unknown[message + i] or taken[field] or role and (role == REMOVED or rank(role) < min_role) then break end
      taken[field] = true
      count = i
    end
  end
  heads[room] = {count, head[1], head[4], head[5]}
  message = message + messages
  place = place + ROOM_ARGS + messages * MESSAGE_ARGS
end

local answer = {now_ms}
local sent, last = {}, nil
local after_seq, before_json = '\31' .. string.format('%d', now_ms) .. '\31', ',"at":"' .. at .. '"'
place = FIRST_ROOM
for room = 1, rooms do
  local messages = tonumber(ARGV[place])
  local count, seq, tail_bytes, touched_at = unpack(heads[room])
  local room_key, tail_key = KEYS[FIRST_KEY + 2 * (room - 1)], KEYS[FIRST_KEY + 2 * room - 1]
  local json_before_seq = ARGV[place + 1]
  local records = {}
  seq = tonumber(seq)
  for i = 1, count do
    local base = place + ROOM_ARGS + (i - 1) * MESSAGE_ARGS
    local text = string.format('%d', seq + i)
    records[i] = '1\31' .. EPOCH .. '\31' .. text .. after_seq .. ARGV[base + 3] .. '\n' .. json_before_seq .. text ..
      before_json .. ARGV[base + 4]
  end
  if count > 0 then
    local renews
    tail_bytes, renews = add_to_tail(tail_key, seq + 1, records, tail_bytes, touched_at, now_s)
    if not tail_bytes then return redis.error_reply(renews) end
    local lengths = {'2'}
    for i = 1, count do
      local base = place + ROOM_ARGS + (i - 1) * MESSAGE_ARGS
      last = redis.call('XADD', ingest_key, '*', 'r', records[i])
      answer[#answer + 1] = seq + i
      answer[#answer + 1] = last
      sent[#sent + 1] = ARGV[base]
      sent[#sent + 1] = (seq + i) .. ' ' .. EPOCH .. ' ' .. now_ms .. ' ' .. last .. ' ' .. ARGV[base + 5]
      lengths[i + 1] = #records[i]
    end
    write_head(room_key, seq + count, tail_bytes, renews and now_s)
    if count == 1 then
      redis.call('PUBLISH', room_key, records[1])
    else
      redis.call('PUBLISH', room_key, table.concat(lengths, '\31') .. '\n' .. table.concat(records))
    end
  end
  for _ = count + 1, messages do
    answer[#answer + 1] = 0
    answer[#answer + 1] = ''
  end
  place = place + ROOM_ARGS + messages * MESSAGE_ARGS
end
if last then redis.call('HSET', window_key, 'last', last, unpack(sent)) end
return answer
