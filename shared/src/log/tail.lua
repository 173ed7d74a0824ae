-- Functions that write a room's tail and head. append.lua and append_many.lua are loaded with this text before them.
-- Redis formats a number argument with 17 digits, which costs more than the command, so all arguments are texts.

local TAIL_EVENTS, TAIL_IDLE_S = '256', '600'
-- A tail consists of parts of at most TAIL_PART_BYTES, or of one record. When a tail has more than TAIL_BYTES, its
-- oldest parts are removed. So the script need not read records to know their sizes.
local TAIL_BYTES, TAIL_PART_BYTES = 65536, 16384
-- Expiry of a room's hash: 7 days. It is far longer than records wait to be stored: if a hash expired while its records
-- wait, their seqs would be assigned twice.
local ROOM_TTL_S = '604800'
-- Minimum interval between two renewals of the expiry of a room's keys. So nearly all appends need no EXPIRE commands.
local TOUCH_S = 30

-- Removes the oldest parts until the tail has at most TAIL_BYTES. `first` is the first seq of the newest part, `parts`
-- are the older parts, newest first. Returns the new `parts` and `total`.
local function remove_oldest_parts(tail_key, first, parts, total)
  local counts, sizes = {}, {}
  for count, size in string.gmatch(parts, '(%d+) (%d+)') do
    counts[#counts + 1], sizes[#sizes + 1] = count, size
    first = first - count
  end
  while total > TAIL_BYTES and #counts > 0 do
    total, first = total - table.remove(sizes), first + table.remove(counts)
  end
  redis.call('XTRIM', tail_key, 'MINID', string.format('%d', first))
  for i = 1, #counts do counts[i] = counts[i] .. ' ' .. sizes[i] .. ' ' end
  return table.concat(counts), total
end

-- Adds records with the seqs from `first_seq` on to a room's tail. The arguments `part`, `parts` and `touched_at` are
-- fields of the room's hash: tail_part (records and bytes of the newest part, bytes of all parts), tail_parts (records
-- and bytes of each older part, newest first), and touched_at (when the expiry was renewed). The bytes include events
-- that MAXLEN removed or that have expired, so they are never too low.
-- Returns the new `part`, the new `parts` or nil if they have not changed, and whether the expiry must be renewed. If
-- Redis refuses the write, returns nil and the error message, and nothing is written.
-- The first call must be the script's first write: when memory is full, Redis refuses only the first write of a script.
-- So a further call for another room in the same script cannot fail. If a tail is lost, its events are read from
-- PostgreSQL.
local function add_to_tail(tail_key, first_seq, records, part, parts, touched_at, now_s, drops_tail)
  local id = string.format('%d-0', first_seq)
  local answer = redis.pcall('XADD', tail_key, 'MAXLEN', TAIL_EVENTS, id, 'r', records[1])
  local failed = type(answer) == 'table' and answer.err
  -- If the id is too low, the tail is replaced below. Any other error, such as full memory, must end the script before
  -- its first write, so the tail may be dropped only after this XADD.
  if failed and not string.find(failed, 'equal or smaller', 1, true) then return nil, failed end
  local count, bytes, total = string.match(part or '', '^(%d+) (%d+) (%d+)$')
  count, bytes, total, touched_at = tonumber(count) or 0, tonumber(bytes) or 0, tonumber(total) or 0, tonumber(touched_at) or 0
  local new_parts
  if failed or drops_tail then
    -- The whole key is deleted, because a stream may keep trimmed entries in memory.
    redis.call('DEL', tail_key)
    redis.call('XADD', tail_key, id, 'r', records[1])
    count, bytes, total, new_parts, touched_at = 0, 0, 0, '', 0
  end
  for i = 1, #records do
    local size = #records[i]
    if i > 1 then
      redis.call('XADD', tail_key, 'MAXLEN', TAIL_EVENTS, string.format('%d-0', first_seq + i - 1), 'r', records[i])
    end
    if bytes > 0 and bytes + size > TAIL_PART_BYTES then
      new_parts = count .. ' ' .. bytes .. ' ' .. (new_parts or parts or '')
      count, bytes = 0, 0
    end
    count, bytes, total = count + 1, bytes + size, total + size
  end
  if total > TAIL_BYTES then
    new_parts, total = remove_oldest_parts(tail_key, first_seq + #records - count, new_parts or parts or '', total)
  end
  local renews = now_s < touched_at or now_s >= touched_at + TOUCH_S
  return string.format('%d %d %d', count, bytes, total), new_parts, renews
end

-- Writes the head of a room. `part`, `parts` and `renews` are the results of `add_to_tail`. If the tail had expired, or
-- another script had deleted it, `touched_at` is old or missing, so the new tail gets an expiry.
local function write_head(room_key, tail_key, seq, part, parts, renews, now_s)
  redis.call('HSET', room_key, 'seq', seq, 'tail_part', part)
  if parts then redis.call('HSET', room_key, 'tail_parts', parts) end
  if renews then
    redis.call('HSET', room_key, 'touched_at', string.format('%d', now_s))
    redis.call('EXPIRE', tail_key, TAIL_IDLE_S)
    redis.call('EXPIRE', room_key, ROOM_TTL_S)
  end
end

-- Writes the head of a room whose newest event is not in the tail. The tail is dropped, because its records must have
-- no hole.
local function skip_tail(room_key, tail_key, seq)
  redis.call('HSET', room_key, 'seq', seq)
  redis.call('HDEL', room_key, 'tail_part', 'tail_parts', 'touched_at')
  redis.call('DEL', tail_key)
  redis.call('EXPIRE', room_key, ROOM_TTL_S)
end
