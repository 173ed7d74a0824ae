-- Moves read and delivered marks of a room's members forward. Appends the marks that move as one record without a seq,
-- for persistence, and publishes receipts. A mark that does not move has no effect.
-- The first line of the loaded text is `local EPOCH = '<epoch>'`, then comes rfc3339.lua (see append.lua).
--
-- KEYS  1 room hash (also the channel)  2 ingest  3 marks
-- ARGV  1 limit of the ingest stream, records; 0 = none
--       2 rest of the marks record's header, from the room on   3 and 4 the same of receipt:read and receipt:delivered
--       5 room   6 stored head as of the look-up, or ''
--       7.. groups of five: kind ('read' or 'delivered'), user, seq, and the user's read and delivered marks by the
--       look-up: two seqs; '-' and '-' if the user is not a member; '' and '' if they were not looked up
--
-- Answers  {'ok', head, at_ms, ingest id, held_ms, seq …}  the present position of each mark, -1: not a member. The
--          ingest id is that of the room's last record of marks, '' if there is none to wait for. held_ms above 0:
--          receipts wait; call again after that time to publish them
--          {'lookup', n …}  look up the users of these groups (from 1), then call again
--          {'seed'} {'full'} as in append.lua
--
-- The marks key is a hash: user → `<read> <at_ms> <delivered> <at_ms> <seq at which the membership began>`. Fields
-- whose names cannot be user ids: ' epoch'; ' ingest', the last record; ' at', when receipts were last published;
-- ' read' and ' delivered', the receipts that wait.

local RECEIPTS_EVERY_MS = 500
-- In larger rooms receipts are not pushed to all members, because that is quadratic.
local MAX_PUSHED_MEMBERS = 100
local MARKS_TTL_S = 3600
local MAX_KEPT_MARKS = 10000

local room = redis.call('HMGET', KEYS[1], 'seq', 'epoch', 'members')
if room[2] ~= EPOCH then return {'seed'} end
local head = tonumber(room[1])
local pushed = tonumber(room[3] or 0) <= MAX_PUSHED_MEMBERS
local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local asked = {}
local changes, fields = {}, {' epoch', ' ingest', ' at', ' read', ' delivered'}
for i = 7, #ARGV, 5 do
  asked[#asked + 1] = {kind = ARGV[i], user = ARGV[i + 1], seq = math.min(tonumber(ARGV[i + 2]), head),
    read = ARGV[i + 3], delivered = ARGV[i + 4]}
  changes[#changes + 1] = 'mark:' .. ARGV[i + 1]
  fields[#fields + 1] = ARGV[i + 1]
end
if #changes > 0 then changes = redis.call('HMGET', KEYS[1], unpack(changes)) end
local kept = redis.call('HMGET', KEYS[3], unpack(fields))
-- Marks of another epoch are ignored, because their events may have been lost.
local same_epoch = kept[1] == EPOCH
local function field(n) return same_epoch and kept[n] or nil end

-- The present marks of each user.
local people, new, unknown = {}, false, {}
for n, mark in ipairs(asked) do
  local role, since = string.match(changes[n] or '', '^(%S+) %d+ %S+ (%d+)$')
  since = since or '0'
  if people[mark.user] == nil then
    local read, read_at, delivered, delivered_at, known = string.match(field(n + 5) or '', '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
    if role == 'removed' or (mark.read == '-' and not role) then
      people[mark.user] = false
    elseif known == since then
      people[mark.user] = {read = tonumber(read), read_at = read_at, delivered = tonumber(delivered),
        delivered_at = delivered_at, since = since}
    elseif mark.read ~= '' then
      -- A membership that began above the stored head begins without marks.
      local begins = mark.read == '-' or (role and tonumber(since) > tonumber(ARGV[6]))
      people[mark.user] = {read = begins and 0 or tonumber(mark.read), read_at = '0',
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

-- User ids contain no other character that JSON escapes.
local function json(user) return '"' .. string.gsub(user, '[\\"]', '\\%0') .. '"' end

local ingest = field(2)
local waits = {read = field(4) or '', delivered = field(5) or ''}
if #moved > 0 then
  local bound = tonumber(ARGV[1])
  if bound > 0 and redis.call('XLEN', KEYS[2]) >= bound then return {'full'} end
  local list = {}
  for n, mark in ipairs(moved) do
    list[n] = '["' .. mark.kind .. '",' .. json(mark.user) .. ',' .. mark.seq .. ']'
    waits[mark.kind] = waits[mark.kind] .. mark.user .. '\30' .. mark.seq .. '\30' .. now_ms .. '\31'
  end
  local header = '1\31' .. EPOCH .. '\0310\31' .. now_ms .. '\31' .. ARGV[2]
  ingest = redis.call('XADD', KEYS[2], '*', 'r', header .. '\n[' .. table.concat(list, ',') .. ']')
end

local function frame(kind, marks)
  return '{"type":"receipt:' .. kind .. '","room":"' .. ARGV[5] .. '","marks":[' .. marks .. ']}'
end

-- Publishes the waiting receipts of a kind; for each user only the last one, which is the highest.
local function publish(kind, header)
  local order, marks = {}, {}
  for user, seq, at in string.gmatch(waits[kind], '([^\30]*)\30(%d+)\30(%d+)\31') do
    if not marks[user] then order[#order + 1] = user end
    marks[user] = '{"user":' .. json(user) .. ',"seq":' .. seq .. ',"at":"' .. rfc3339(tonumber(at)) .. '"}'
  end
  local all = {}
  for _, user in ipairs(order) do
    -- Receipts of a removed user are not published after the removal.
    if not string.find(redis.call('HGET', KEYS[1], 'mark:' .. user) or '', '^removed ') then
      all[#all + 1] = marks[user]
      -- A user's own read marks go to all connections of the user, in rooms of any size.
      if kind == 'read' then
        local notice = 'read ' .. ARGV[5] .. ' ' .. (pushed and '1' or '0') .. '\n' .. frame('read', marks[user])
        redis.call('PUBLISH', 'user:' .. user, notice)
      end
    end
  end
  if pushed and #all > 0 then
    local record = '1\31' .. EPOCH .. '\0310\31' .. now_ms .. '\31' .. header .. '\n' .. frame(kind, table.concat(all, ','))
    redis.call('PUBLISH', KEYS[1], record)
  end
end

local held_ms, published = 0, false
local at = tonumber(field(3) or 0)
if waits.read ~= '' or waits.delivered ~= '' then
  -- `at <= now_ms`: a clock that was set back must not delay receipts.
  if at <= now_ms and now_ms < at + RECEIPTS_EVERY_MS then
    held_ms = at + RECEIPTS_EVERY_MS - now_ms
  else
    publish('read', ARGV[3])
    publish('delivered', ARGV[4])
    waits, at, published = {read = '', delivered = ''}, now_ms, true
  end
end

if #moved > 0 or new or published then
if not same_epoch or redis.call('HLEN', KEYS[3]) > MAX_KEPT_MARKS then redis.call('DEL', KEYS[3]) end
  local sets = {' epoch', EPOCH, ' ingest', ingest or '', ' at', at, ' read', waits.read, ' delivered', waits.delivered}
  for user, person in pairs(people) do
    if person then
      sets[#sets + 1] = user
      sets[#sets + 1] = string.format('%.0f %s %.0f %s %s', person.read, person.read_at, person.delivered, person.delivered_at, person.since)
    end
  end
  redis.call('HSET', KEYS[3], unpack(sets))
  redis.call('EXPIRE', KEYS[3], MARKS_TTL_S)
end
return {'ok', head, now_ms, ingest or '', held_ms, unpack(positions)}
