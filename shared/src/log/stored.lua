-- Announces that a partition's records are committed up to an ingest id: writes the watermark and the exceptions, trims
-- the stream and publishes a notice.
-- The loaded text begins with EPOCH, as in append.lua.
--
-- stored_key: also the channel   committed: ingest id up to which records are committed
-- After it: pairs of `room \31 seq` and its outcome: `<first seq> <first id> <first at_ms>` or `rejected`
--
-- Answers  'ok', or 'newer' if a later epoch has written the watermark: nothing was changed
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

-- XTRIM comes first, because Redis allows it even when its memory is full. After this first write Redis allows the
-- others too. The last stored record stays in the stream: a later epoch reads it again, which moves that epoch's
-- watermark to it.
redis.call('XTRIM', ingest_key, 'MINID', new)

local notice = EPOCH .. ' ' .. before .. ' ' .. new
if #ARGV > 1 then
  -- Exceptions are kept for one to two times ROTATE_S. Later, client ids are looked up in PostgreSQL instead.
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
