-- Moves read and delivered marks of a room's members forward, and publishes receipts. The marks that moved are appended
-- to the ingest stream as one record without a seq. A mark that is not above the present one is ignored.
-- The loaded text begins with `local EPOCH`, the ranks of roles, rfc3339.lua and backlog.lua, as in append.lua.
--
-- room_key: the room's hash, and the name of its channel   max_backlog, max_backlog_bytes: as in append.lua
-- marks_header, read_header, delivered_header: the headers of the marks record, of receipt:read and of
--   receipt:delivered, from the field `room` on (record.rs)
-- stored_head: the room's head in PostgreSQL when the caller looked up stored marks, or '' without a look-up
-- From FIRST_MARK on, for each mark: kind ('read' or 'delivered'), user, seq, and the user's stored read and delivered
--   mark: two seqs if the user is a member; '-' and '-' if not; '' and '' if the caller has not looked them up
--
-- Answers  {'ok', head, at_ms, ingest id, due_in_ms, seq …}  The seqs are the present position of each mark, or -1 if
--          the user is not a member. The ingest id is that of the room's last marks record, or ''. If due_in_ms is
--          above 0, receipts wait, and the caller must call again after this time to publish them
--          {'lookup', n …}  look up the stored marks of the users of marks n (counted from 1), then call again
--          {'seed'} {'full'} as in append.lua
--
-- The marks key is a hash: user → `<read> <at_ms> <delivered> <at_ms> <seq at which the membership began>`. A leading
-- space separates other fields from user ids: ' epoch'; ' ingest', the id of the last marks record; ' at', when
-- receipts were last published; ' read' and ' delivered', the receipts that wait.

local room_key, ingest_key, marks_key, sent_key, stored_key = unpack(KEYS)
local max_backlog, max_backlog_bytes, marks_header, read_header, delivered_header, room,
  stored_head = unpack(ARGV, 1, 7)
local FIRST_MARK = 8

local RECEIPTS_EVERY_MS = 500
-- In rooms with more members receipts are not pushed to all members, because the number of frames would grow with the
-- square of the number of members.
local MAX_PUSHED_MEMBERS = 100
local MARKS_TTL_S = 3600
-- With the marks of more users, all are dropped, but only by a call at which the records of all of them are stored.
-- Otherwise PostgreSQL would not know the latest mark of a user, and a lower one could follow it. If marks come faster
-- than the writer stores them, there is no such call. So this number is no bound: the hash may have each member of the
-- room (100,000 by default), and those who left while it existed.
local MAX_KEPT_MARKS = 10000

local head, epoch, members = unpack(redis.call('HMGET', room_key, 'seq', 'epoch', 'members'))
if epoch ~= EPOCH then return {'seed'} end
head = tonumber(head)
local pushed = tonumber(members or 0) <= MAX_PUSHED_MEMBERS
local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local asked = {}
local changes, fields = {}, {' epoch', ' ingest', ' at', ' read', ' delivered'}
local FIRST_USER = #fields + 1
for i = FIRST_MARK, #ARGV, 5 do
  local kind, user, seq, read, delivered = unpack(ARGV, i, i + 4)
  asked[#asked + 1] = {kind = kind, user = user, seq = math.min(tonumber(seq), head), read = read, delivered = delivered}
  changes[#changes + 1] = 'mark:' .. user
  fields[#fields + 1] = user
end
if #changes > 0 then changes = redis.call('HMGET', room_key, unpack(changes)) end
local kept = redis.call('HMGET', marks_key, unpack(fields))
local marks_epoch, ingest, at, waiting_read, waiting_delivered = unpack(kept, 1, FIRST_USER - 1)
-- Read and delivered marks of another epoch are ignored, because the events that they name may be lost.
local same_epoch = marks_epoch == EPOCH
if not same_epoch then kept, ingest, at, waiting_read, waiting_delivered = {} end

-- `people`: the present read and delivered mark of each user, or false if the user is not a member. `new`: whether
-- looked-up marks must be written to the hash. `unknown`: the marks whose users must be looked up.
local people, new, unknown = {}, false, {}
for n, mark in ipairs(asked) do
  local role, since = string.match(changes[n] or '', '^(%S+) %d+ %S+ (%d+)$')
  since = since or '0'
  if people[mark.user] == nil then
    local read, read_at, delivered, delivered_at, known = string.match(kept[FIRST_USER + n - 1] or '', '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
    if role == REMOVED or (mark.read == '-' and not role) then
      people[mark.user] = false
    elseif known == since then
      people[mark.user] = {read = tonumber(read), read_at = read_at, delivered = tonumber(delivered),
        delivered_at = delivered_at, since = since}
    elseif mark.read ~= '' then
      -- If the membership began above the stored head, the stored marks are of an earlier membership and do not count.
      -- Its read mark begins at its join, as in PostgreSQL.
      local begins = mark.read == '-' or (role and tonumber(since) > tonumber(stored_head))
      people[mark.user] = {read = tonumber(begins and since or mark.read), read_at = '0',
        delivered = begins and 0 or tonumber(mark.delivered), delivered_at = '0', since = since}
      new = true
    else
      unknown[#unknown + 1] = n
    end
  end
end
if #unknown > 0 then return {'lookup', unpack(unknown)} end

local moved, positions = {}, {}
for n, mark in ipairs(asked) do
  local person = people[mark.user]
  if person and mark.seq > person[mark.kind] then
    person[mark.kind], person[mark.kind .. '_at'], person.moved = mark.seq, now_ms, true
    moved[#moved + 1] = mark
  end
end
for n, mark in ipairs(asked) do
  local person = people[mark.user]
  positions[n] = person and person[mark.kind] or -1
end

-- Encodes a user id as a JSON string. Of the characters that JSON escapes, user ids may contain only `\` and `"`.
local function json(user) return '"' .. string.gsub(user, '[\\"]', '\\%0') .. '"' end

local last_record = ingest or ''
local waits = {read = waiting_read or '', delivered = waiting_delivered or ''}
if #moved > 0 then
  local window = redis.call('LRANGE', sent_key, -1, -1)[1]
  local window_key = window and sent_key .. ':' .. window
  local newest = window and redis.call('HMGET', window_key, 'earlier', 'bytes', 'measured_at') or {}
  -- Without the field `earlier` the hash has expired. A write would create it again, without an expiry.
  if not newest[1] then window_key = nil end
  local bytes = read_backlog(ingest_key, window_key, newest[2], newest[3], tonumber(max_backlog),
    tonumber(max_backlog_bytes), tonumber(clock[1]))
  if not bytes then return {'full'} end
  local list = {}
  for n, mark in ipairs(moved) do
    list[n] = '["' .. mark.kind .. '",' .. json(mark.user) .. ',' .. mark.seq .. ']'
    waits[mark.kind] = waits[mark.kind] .. mark.user .. '\30' .. mark.seq .. '\30' .. now_ms .. '\31'
  end
  local header = '1\31' .. EPOCH .. '\0310\31' .. now_ms .. '\31' .. marks_header
  local record = header .. '\n[' .. table.concat(list, ',') .. ']'
  ingest = redis.call('XADD', ingest_key, '*', 'r', record)
  if window_key then redis.call('HSET', window_key, 'bytes', string.format('%d', bytes + #record)) end
end

local function frame(kind, marks)
  return '{"type":"receipt:' .. kind .. '","room":"' .. room .. '","marks":[' .. marks .. ']}'
end

-- Publishes the waiting receipts of a kind ('read' or 'delivered'). For each user only the last receipt is published,
-- which has the highest seq.
local function publish(kind, header)
  local order, marks = {}, {}
  for user, seq, at in string.gmatch(waits[kind], '([^\30]*)\30(%d+)\30(%d+)\31') do
    if not marks[user] then order[#order + 1] = user end
    marks[user] = '{"user":' .. json(user) .. ',"seq":' .. seq .. ',"at":"' .. rfc3339(tonumber(at)) .. '"}'
  end
  local all = {}
  for _, user in ipairs(order) do
    -- Receipts of a removed user are not published after the removal.
    if string.match(redis.call('HGET', room_key, 'mark:' .. user) or '', '^%S+') ~= REMOVED then
      all[#all + 1] = marks[user]
      -- A user's own read marks go to all connections of the user, in rooms of any size.
      if kind == 'read' then
        local notice = 'read ' .. room .. ' ' .. (pushed and '1' or '0') .. '\n' .. frame('read', marks[user])
        redis.call('PUBLISH', 'user:' .. user, notice)
      end
    end
  end
  if pushed and #all > 0 then
    local record = '1\31' .. EPOCH .. '\0310\31' .. now_ms .. '\31' .. header .. '\n' .. frame(kind, table.concat(all, ','))
    redis.call('PUBLISH', room_key, record)
  end
end

local due_in_ms, published = 0, false
at = tonumber(at or 0)
if waits.read ~= '' or waits.delivered ~= '' then
  -- If the clock was set back, `at` is in the future. `at <= now_ms` is checked so that receipts are then not delayed.
  if at <= now_ms and now_ms < at + RECEIPTS_EVERY_MS then
    due_in_ms = at + RECEIPTS_EVERY_MS - now_ms
  else
    publish('read', read_header)
    publish('delivered', delivered_header)
    waits, at, published = {read = '', delivered = ''}, now_ms, true
  end
end

if #moved > 0 or new or published then
  local drops = not same_epoch
  if not drops and redis.call('HLEN', marks_key) > MAX_KEPT_MARKS then
    drops = last_record == '' or covers(redis.call('GET', stored_key), last_record)
  end
  if drops then redis.call('DEL', marks_key) end
  local sets = {' epoch', EPOCH, ' ingest', ingest or '', ' at', at, ' read', waits.read, ' delivered', waits.delivered}
  for user, person in pairs(people) do
    if person then
      sets[#sets + 1] = user
      sets[#sets + 1] = string.format('%.0f %s %.0f %s %s', person.read, person.read_at, person.delivered, person.delivered_at, person.since)
    end
  end
  redis.call('HSET', marks_key, unpack(sets))
  redis.call('EXPIRE', marks_key, MARKS_TTL_S)
end
return {'ok', head, now_ms, ingest or '', due_in_ms, unpack(positions)}
