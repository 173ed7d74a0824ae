-- Announces that records are committed up to an ingest id, for several partitions: writes each watermark and the
-- exceptions, trims the streams and publishes one notice for all partitions.
-- The loaded text begins with EPOCH, as in append.lua.
--
-- KEYS: of each partition stored_key, ingest_key, exceptions_key and old_exceptions_key. The stored_key of the first
--   partition that is written is also the channel of the notice
-- ARGV: of each partition
--   committed: ingest id up to which records are committed
--   proof: `<seq> <room>` of an event that the commit stored, or '' for none. It stays beside the exceptions until that
--     of a later commit replaces it, so that persistence notices when PostgreSQL has lost the commit
--   count: the number of exceptions
--   for each exception: `room \31 seq` and its outcome: `<first seq> <first id> <first at_ms>` or `rejected`
--
-- Answers  for each partition: 'ok'; 'newer' if a later epoch has written the watermark, and nothing was changed; or
--          the message of an error
-- Notice   for each partition a line `<epoch> <watermark before> <watermark> <partition>`, then a line
--          `room \31 seq \31 outcome` for each exception

local ROTATE_S = 3600

local function id_parts(id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(n)
end

-- Errors that concern the whole process. Any other error concerns one partition, such as a key of a wrong type.
local PROCESS_ERRORS = {LOADING = true, MASTERDOWN = true, MISCONF = true, NOPERM = true, NOREPLICAS = true, OOM = true,
  READONLY = true}

local notice, channel = {}, nil

-- Writes one partition's watermark, proof and exceptions, which follow `place` in ARGV.
local function write_watermark(first_key, committed, proof, place, count)
  local stored_key, ingest_key, exceptions_key, old_exceptions_key = unpack(KEYS, first_key, first_key + 3)
  local new, before, is_late = committed, '0-0', false
  local epoch, at = string.match(redis.call('GET', stored_key) or '', '^(%d+) (%S+)$')
  if epoch and tonumber(epoch) > tonumber(EPOCH) then return 'newer' end
  if epoch == EPOCH then
    before = at
    local ms, n = id_parts(at)
    local new_ms, new_n = id_parts(new)
    is_late = new_ms < ms or (new_ms == ms and new_n < n)
    if is_late then new = at end
  end

  -- XTRIM comes first, because Redis allows it even when its memory is full. After this first write Redis allows the
  -- others too. The last stored record stays in the stream: a later epoch reads it again, which moves that epoch's
  -- watermark to it.
  redis.call('XTRIM', ingest_key, 'MINID', new)
  if count > 0 then
    -- Exceptions are kept for one to two times ROTATE_S. Later, client ids are looked up in PostgreSQL instead.
    local now_s = tonumber(redis.call('TIME')[1])
    local since = tonumber(redis.call('HGET', exceptions_key, 'since') or now_s)
    if now_s - since > ROTATE_S then
      redis.call('RENAME', exceptions_key, old_exceptions_key)
      since = now_s
    end
    redis.call('HSET', exceptions_key, 'since', since)
    for i = place + 1, place + 2 * count, 2 do redis.call('HSET', exceptions_key, ARGV[i], ARGV[i + 1]) end
  end
  -- A late owner must not replace the proof: PostgreSQL may have its commit, and may have lost later commits.
  if proof ~= '' and not is_late then redis.call('HSET', exceptions_key, 'proof', proof) end
  redis.call('SET', stored_key, EPOCH .. ' ' .. new)

  -- The key begins with the partition's number in braces.
  channel = channel or stored_key
  notice[#notice + 1] = EPOCH .. ' ' .. before .. ' ' .. new .. ' ' .. string.sub(stored_key, 2, 3)
  for i = place + 1, place + 2 * count, 2 do notice[#notice + 1] = ARGV[i] .. '\31' .. ARGV[i + 1] end
  return 'ok'
end

local answers, place, failure = {}, 1, nil
for first_key = 1, #KEYS, 4 do
  local count = tonumber(ARGV[place + 2])
  local written, answer = pcall(write_watermark, first_key, ARGV[place], ARGV[place + 1], place + 2, count)
  if not written then
    answer = type(answer) == 'table' and answer.err or tostring(answer)
    if PROCESS_ERRORS[string.match(answer, '^%-?(%u+)')] then
      failure = answer
      break
    end
  end
  answers[#answers + 1] = answer
  place = place + 3 + 2 * count
end
-- A notice begins with the partition of its channel, because gateways of earlier versions read only the first line.
if channel then redis.call('PUBLISH', channel, table.concat(notice, '\n')) end
return failure and redis.error_reply(failure) or answers
