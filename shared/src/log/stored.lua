-- Writes a partition's stored watermark: the ingest id up to which records are committed in PostgreSQL. Also writes the
-- exceptions (records that were not stored as sent), trims the ingest stream and publishes a notice.
-- The loaded text begins with `local EPOCH`, as in append.lua.
--
-- stored_key: the watermark, and the name of the channel of its notices   committed: the new watermark
-- After `committed`: for each exception `room \31 seq` and its outcome: `rejected`, or `<seq> <id> <at_ms>` of the
--   first message with the same client id
--
-- Answers  'ok', or 'newer' if a later epoch has written the watermark, and nothing was changed
-- Notice   `<epoch> <watermark before> <watermark>`, then a line `room \31 seq \31 outcome` for each exception

local stored_key, ingest_key, exceptions_key, old_exceptions_key = unpack(KEYS)
local committed = unpack(ARGV, 1, 1)

local ROTATE_S = 3600

local function id_parts(id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(n)
end

local new, before = committed, '0-0'
local epoch, at = string.match(redis.call('GET', stored_key) or '', '^(%d+) (%S+)$')
if epoch and tonumber(epoch) > tonumber(EPOCH) then return 'newer' end
if epoch == EPOCH then
  before = at
  local ms, n = id_parts(at)
  local new_ms, new_n = id_parts(new)
  if new_ms < ms or (new_ms == ms and new_n < n) then new = at end
end

-- XTRIM comes first, because Redis allows XTRIM even when its memory is full, and then allows the later writes of the
-- same script too. The last stored record stays in the stream, because a later epoch must read this record again to
-- move its own watermark.
redis.call('XTRIM', ingest_key, 'MINID', new)

local notice = EPOCH .. ' ' .. before .. ' ' .. new
if #ARGV > 1 then
  -- Exceptions are kept for one to two times ROTATE_S. After that time, client ids are looked up in PostgreSQL instead.
  local now_s = tonumber(redis.call('TIME')[1])
  local since = tonumber(redis.call('HGET', exceptions_key, 'since') or now_s)
  if now_s - since > ROTATE_S then
    redis.call('RENAME', exceptions_key, old_exceptions_key)
    since = now_s
  end
  redis.call('HSET', exceptions_key, 'since', since)
  for i = 2, #ARGV, 2 do
    local position, outcome = unpack(ARGV, i, i + 1)
    redis.call('HSET', exceptions_key, position, outcome)
    notice = notice .. '\n' .. position .. '\31' .. outcome
  end
end
redis.call('SET', stored_key, EPOCH .. ' ' .. new)
redis.call('PUBLISH', stored_key, notice)
return 'ok'
