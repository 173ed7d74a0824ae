-- Functions that limit the bytes of a partition's ingest stream, and that compare its ids. append.lua and marks.lua are
-- loaded with this text before them.
-- The hash of the newest window of client ids has the field `bytes`. It begins with the measured size of the stream.
-- Each append adds the size of its record, and nothing subtracts the records that stored.lua trims. So `bytes` is never
-- too low, unless earlier versions of the services, which do not add to it, append records. This error ends with the
-- window. When `bytes` reaches the limit, or is absent, the stream is measured. Each append of a message reads and
-- writes this hash in any case, so it needs no further command.

-- The memory of the stream, in bytes; 0 if the Redis user may not call MEMORY. Then only the number of records is
-- limited.
local function measure(ingest_key)
  local bytes = redis.pcall('MEMORY', 'USAGE', ingest_key, 'SAMPLES', '0')
  return type(bytes) == 'number' and bytes or 0
end

-- Returns the value of `bytes`, or nil if the stream has reached `max_records` or `max_bytes` (0 = no limit). The
-- arguments `bytes` and `measured_at` are fields of the newest window, which has the key `window_key`. Without a key
-- nothing is written.
local function read_backlog(ingest_key, window_key, bytes, measured_at, max_records, max_bytes, now_s)
  if max_records > 0 and redis.call('XLEN', ingest_key) >= max_records then return nil end
  bytes = tonumber(bytes)
  if bytes and (max_bytes == 0 or bytes < max_bytes) then return bytes end
  -- A stream above half the limit is measured at most once a second. Otherwise each refused sender would measure it.
  local now = string.format('%d', now_s)
  if bytes and measured_at == now then return nil end
  bytes = measure(ingest_key)
  if window_key then
    local long = 2 * bytes > max_bytes
    redis.call('HSET', window_key, 'bytes', string.format('%d', bytes), 'measured_at', long and now or '')
  end
  return (max_bytes == 0 or bytes < max_bytes) and bytes or nil
end

local function id_parts(id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(n)
end

-- Whether the record with this ingest id is stored, by the value of `{p}:stored`.
local function covers(watermark, id)
  local epoch, at = string.match(watermark or '', '^(%d+) (%S+)$')
  if epoch ~= EPOCH then return false end
  local ms, n = id_parts(at)
  local id_ms, id_n = id_parts(id)
  return id_ms < ms or (id_ms == ms and id_n <= n)
end
