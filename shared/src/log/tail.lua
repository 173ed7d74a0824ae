-- Functions that write a room's tail and head. append.lua and append_many.lua are loaded with this text before them.

local TAIL_EVENTS, TAIL_BYTES, TAIL_IDLE_S = 256, 65536, 600
-- When a tail has more than TAIL_BYTES, its oldest events are read in batches of this size.
local TAIL_TRIM_BATCH = 32
-- Expiry of a room's hash. It is far longer than records wait to be stored: if a hash expired while its records wait,
-- their seqs would be assigned twice.
local ROOM_TTL_S = 7 * 86400
-- Interval between two renewals of the expiry of a room's keys, so that nearly all appends save two EXPIRE commands.
local TOUCH_S = 30

-- Adds records with the seqs from `first_seq` on to a room's tail. `tail_bytes` and `touched_at` are fields of the
-- room's hash. Returns the new `tail_bytes`, and whether the expiry of the hash must be renewed. If Redis refuses the
-- write, returns nil and the error message, and nothing is written.
-- Must be the script's first write: when memory is full, Redis refuses only the first write of a script. So a further
-- call for another room in the same script cannot fail. If a tail is lost, its events are read from PostgreSQL.
local function add_to_tail(tail_key, first_seq, records, tail_bytes, touched_at, now_s, drops_tail)
  local id = string.format('%d-0', first_seq)
  local added = redis.pcall('XADD', tail_key, 'MAXLEN', TAIL_EVENTS, id, 'r', records[1])
  local failed = type(added) == 'table' and added.err
  -- If the id is too low, the tail is replaced below. Any other error, such as full memory, must end the script before
  -- its first write, so the tail may be dropped only after this XADD.
  if failed and not string.find(failed, 'equal or smaller', 1, true) then return nil, failed end
  if failed or drops_tail then
    -- The whole key is deleted, because a stream may keep trimmed entries in memory.
    redis.call('DEL', tail_key)
    redis.call('XADD', tail_key, id, 'r', records[1])
  end
  local added_bytes = #records[1]
  for i = 2, #records do
    redis.call('XADD', tail_key, 'MAXLEN', TAIL_EVENTS, string.format('%d-0', first_seq + i - 1), 'r', records[i])
    added_bytes = added_bytes + #records[i]
  end
  local tail_events = redis.call('XLEN', tail_key)
  local is_new = tail_events <= #records
  tail_bytes = added_bytes + (is_new and 0 or tonumber(tail_bytes) or 0)
  if tail_bytes > TAIL_BYTES then
    -- The tail is trimmed to three quarters of the limit, so that only few appends must trim. `tail_bytes` still counts
    -- events that MAXLEN removed, so it is never too low.
    local upto = TAIL_BYTES * 3 / 4
    while tail_bytes > upto and tail_events > 1 do
      local oldest = redis.call('XRANGE', tail_key, '-', '+', 'COUNT', math.min(TAIL_TRIM_BATCH, tail_events - 1))
      local gone = 0
      while gone < #oldest and tail_bytes > upto do
        gone = gone + 1
        tail_bytes = tail_bytes - #oldest[gone][2][2]
      end
      tail_events = tail_events - gone
      redis.call('XTRIM', tail_key, 'MAXLEN', tail_events)
    end
    if tail_events == 1 then tail_bytes = #records[#records] end
  end
  touched_at = tonumber(touched_at) or 0
  local renews = now_s < touched_at or now_s >= touched_at + TOUCH_S
  -- A new tail has no expiry yet.
  if renews or is_new then redis.call('EXPIRE', tail_key, TAIL_IDLE_S) end
  return tail_bytes, renews
end

-- Writes the head of a room. `touched_at` is the present second if the expiry of the hash must be renewed, else false.
local function write_head(room_key, seq, tail_bytes, touched_at)
  if touched_at then
    redis.call('HSET', room_key, 'seq', seq, 'tail_bytes', tail_bytes, 'touched_at', touched_at)
    redis.call('EXPIRE', room_key, ROOM_TTL_S)
  else
    redis.call('HSET', room_key, 'seq', seq, 'tail_bytes', tail_bytes)
  end
end
