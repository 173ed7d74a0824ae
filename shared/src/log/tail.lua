-- Functions that write a room's tail and head. append.lua and append_many.lua are loaded with this text before them.
-- Redis formats a number argument with 17 digits, which costs more than the command, so all arguments are texts.

local TAIL_EVENTS, TAIL_IDLE_S = '256', '600'
-- A tail consists of parts of at most TAIL_PART_BYTES, or of the records of one call. When a part is complete, the oldest
-- parts are removed until at most TAIL_BYTES are left, so no record is read to know its size.
local TAIL_BYTES, TAIL_PART_BYTES = 57344, 8192
-- Expiry of a room's hash. It is far longer than records wait to be stored: if a hash expired while its records wait,
-- their seqs would be assigned twice.
local ROOM_TTL_S = tostring(7 * 86400)
-- Interval between two renewals of the expiry of a room's keys, so that nearly all appends save two EXPIRE commands.
local TOUCH_S = 30

-- Completes the part that ends with `seq` and has `bytes`. `parts` are the last seqs and the sizes of the earlier parts,
-- newest first; `newer` is the size of the records after `seq`. Removes the oldest parts if there are too many bytes.
-- Returns the new `parts`. The sizes still count events that MAXLEN removed, so they are never too low.
local function complete_part(tail_key, seq, bytes, parts, newer)
  local kept, total = '', newer
  for upto, size in string.gmatch(seq .. ' ' .. bytes .. ' ' .. parts, '(%d+) (%d+)') do
    total = total + size
    if total > TAIL_BYTES then
      redis.call('XTRIM', tail_key, 'MINID', string.format('%d', upto + 1))
      break
    end
    kept = kept .. upto .. ' ' .. size .. ' '
  end
  return kept
end

-- Adds records with the seqs from `first_seq` on to a room's tail and writes the new head to the room's hash. `bytes`,
-- `parts` and `touched_at` are the fields tail_bytes, tail_parts and touched_at of the hash. If Redis refuses the first
-- write, returns the error message, and nothing is written.
-- Must be the script's first write: when memory is full, Redis refuses only the first write of a script. So a further
-- call for another room in the same script cannot fail. If a tail is lost, its events are read from PostgreSQL.
local function add_to_tail(room_key, tail_key, first_seq, records, bytes, parts, touched_at, now_s, drops_tail)
  local id = string.format('%d-0', first_seq)
  local answer = redis.pcall('XADD', tail_key, 'MAXLEN', TAIL_EVENTS, id, 'r', records[1])
  local failed = type(answer) == 'table' and answer.err
  -- If the id is too low, the tail is replaced below. Any other error, such as full memory, must end the script before
  -- its first write, so the tail may be dropped only after this XADD.
  if failed and not string.find(failed, 'equal or smaller', 1, true) then return failed end
  bytes, parts, touched_at = tonumber(bytes) or 0, parts or '', tonumber(touched_at) or 0
  local new_parts
  if failed or drops_tail then
    -- The whole key is deleted, because a stream may keep trimmed entries in memory.
    redis.call('DEL', tail_key)
    redis.call('XADD', tail_key, id, 'r', records[1])
    bytes, new_parts, touched_at = 0, '', 0
  end
  local added = #records[1]
  for i = 2, #records do
    redis.call('XADD', tail_key, 'MAXLEN', TAIL_EVENTS, string.format('%d-0', first_seq + i - 1), 'r', records[i])
    added = added + #records[i]
  end
  if bytes > 0 and bytes + added > TAIL_PART_BYTES then
    new_parts = complete_part(tail_key, first_seq - 1, bytes, parts, added)
    bytes = 0
  end
  local seq = string.format('%d', first_seq + #records - 1)
  redis.call('HSET', room_key, 'seq', seq, 'tail_bytes', string.format('%d', bytes + added))
  if new_parts then redis.call('HSET', room_key, 'tail_parts', new_parts) end
  -- A tail that has expired, or that another script or job deleted, begins with a renewal: they remove `touched_at`.
  if now_s < touched_at or now_s >= touched_at + TOUCH_S then
    redis.call('HSET', room_key, 'touched_at', string.format('%d', now_s))
    redis.call('EXPIRE', tail_key, TAIL_IDLE_S)
    redis.call('EXPIRE', room_key, ROOM_TTL_S)
  end
end
