-- Announces that a partition's records are committed up to an ingest id: watermark, exceptions, trim and notice in one.
-- The first line of the loaded text is `local EPOCH = '<epoch>'` (see append.lua).
--
-- KEYS  1 stored (also the channel)  2 ingest  3 exceptions  4 exceptions:old
-- ARGV  1 ingest id that is committed
--       2.. pairs: room \31 seq, and its outcome: `<first seq> <first id> <first at_ms>` or `rejected`
--
-- Answers  'ok', or 'newer' if a later epoch has written the watermark: nothing was changed
-- Notice   `<epoch> <watermark before> <watermark>`, then a line `room \31 seq \31 outcome` for each exception

local ROTATE_S = 3600

local function id_parts(id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(n)
end

local new, before = ARGV[1], '0-0'
local epoch, at = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%S+)$')
if epoch and tonumber(epoch) > tonumber(EPOCH) then return 'newer' end
if epoch == EPOCH then
  before = at
  local ms, n = id_parts(at)
  local new_ms, new_n = id_parts(new)
  if new_ms < ms or (new_ms == ms and new_n < n) then new = at end
end

-- XTRIM comes first, because Redis allows only this write when its memory is full; then the others may follow it.
-- The last stored record stays in the stream, because reading it again in a later epoch moves that epoch's watermark to
-- it.
redis.call('XTRIM', KEYS[2], 'MINID', new)

local notice = EPOCH .. ' ' .. before .. ' ' .. new
if #ARGV > 1 then
  -- Exceptions are kept for one to two rotations. Later, client ids are looked up in PostgreSQL instead.
  local now_s = tonumber(redis.call('TIME')[1])
  local since = tonumber(redis.call('HGET', KEYS[3], 'since') or now_s)
  if now_s - since > ROTATE_S then
    redis.call('RENAME', KEYS[3], KEYS[4])
    since = now_s
  end
  redis.call('HSET', KEYS[3], 'since', since)
  for i = 2, #ARGV, 2 do
    redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
    notice = notice .. '\n' .. ARGV[i] .. '\31' .. ARGV[i + 1]
  end
end
redis.call('SET', KEYS[1], EPOCH .. ' ' .. new)
redis.call('PUBLISH', KEYS[1], notice)
return 'ok'
