-- Included in append.lua and append_many.lua.

local TAIL_EVENTS, TAIL_BYTES, TAIL_IDLE_S = 256, 65536, 600
-- Oldest events that are read in one call when a tail is too large.
local TAIL_TRIM_BATCH = 32
-- Far longer than any backlog lasts: if a hash expired while its records wait, their seqs would be given out twice.
local ROOM_TTL_S = 7 * 86400
-- Interval between two renewals of the expiry of a room's keys, so that nearly all appends save two EXPIRE commands.
local TOUCH_S = 30

-- Adds records with the seqs from `first_seq` on to a room's tail. `tail_bytes` and `touched_at` are fields of the room's
-- hash. Returns the new `tail_bytes`, and whether the expiry of the hash is to be renewed; or nil and the message of an
-- error, and has written nothing then.
-- It must be the script's first write: when memory is full, Redis refuses only that one. So the call for a later room of
-- the same script cannot fail. A lost tail costs a read of PostgreSQL, never an event.
local function add_to_tail(tail_key, first_seq, records, tail_bytes, touched_at, now_s, drops_tail)
  local id = string.format('%d-0', first_seq)
  local added = redis.pcall('XADD', tail_key, 'MAXLEN', TAIL_EVENTS, id, 'r', records[1])
  local failed = type(added) == 'table' and added.err
  -- An id that is too low only means that the tail is replaced below. Full memory must end the script before it has
  -- written anything, so nothing may be dropped before this XADD.
  if failed and not string.find(failed, 'equal or smaller', 1, true) then return nil, failed end
  if failed or drops_tail then
    -- Deletes the whole key, because trimmed entries may stay in the memory of a stream.
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
    -- Trims to three quarters of the limit, so that only few appends must trim. `tail_bytes` still counts events that
    -- MAXLEN removed: the sum is never too low, and the loop removes only events that exist.
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
  -- A new tail has no time to live yet.
  if renews or is_new then redis.call('EXPIRE', tail_key, TAIL_IDLE_S) end
  return tail_bytes, renews
end

-- Writes the head of a room; `touched_at` is false, or the second in which the expiry of the hash is renewed.
local function write_head(room_key, seq, tail_bytes, touched_at)
  if touched_at then
    redis.call('HSET', room_key, 'seq', seq, 'tail_bytes', tail_bytes, 'touched_at', touched_at)
    redis.call('EXPIRE', room_key, ROOM_TTL_S)
  else
    redis.call('HSET', room_key, 'seq', seq, 'tail_bytes', tail_bytes)
  end
end
