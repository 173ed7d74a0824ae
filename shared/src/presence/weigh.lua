-- Stands before each script of presence: what is held of a user, weighed.
-- A user's hash:  `n:<life>`   what a life of a node holds of them: o online, a away
--                 `x:<kind>`   what holds for a time: `<o|a> <until ms> <since ms>`. Kinds `o` and `a` are the grace of
--                              connections that closed, `http` and `poll` who came without one
--                 `s`          what was told last: o, a, or not there
--                 `seen`       when the last of what is over ended, ms
-- The lives of a partition: a sorted set of the ends of their leases, ms; below 0: being reaped, never to be renewed.
local LEASE_MS, GRACE_MS = 15000, 10000

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function integer(number) return string.format('%d', number) end

local function lease_of(lives_key, life) return tonumber(redis.call('ZSCORE', lives_key, life)) or 0 end

-- A life counts up to a grace behind its lease.
local function is_alive(lease) return lease > 0 and lease + GRACE_MS > now end

-- `held`: by nodes; `best`: by anything; `told`; `seen`; `next`: when the first thing runs out; `over`: fields that
-- count for nothing any more.
local function weigh(user_key, lives_key)
  local w = { held = '', best = '', told = '', seen = 0, over = {} }
  local timed = {}
  local fields = redis.call('HGETALL', user_key)
  for i = 1, #fields, 2 do
    local field, value = fields[i], fields[i + 1]
    local kind, name = string.match(field, '^([nx]):(.*)$')
    if kind == 'n' then
      local lease = lease_of(lives_key, name)
      if is_alive(lease) then
        if value > w.held then w.held = value end
      else
        w.over[#w.over + 1] = field
        w.seen = math.max(w.seen, math.abs(lease) - LEASE_MS)
      end
    elseif kind == 'x' then
      local status, ends, since = string.match(value, '^(%a) (%d+) (%d+)$')
      timed[#timed + 1] = { field = field, name = name, status = status, ends = tonumber(ends), since = tonumber(since) }
    elseif field == 's' then
      w.told = value
    elseif field == 'seen' then
      w.seen = math.max(w.seen, tonumber(value))
    end
  end
  w.best = w.held
  for _, t in ipairs(timed) do
    -- Whoever is back needs no grace: what they say of themselves next counts at once.
    local back = (t.name == 'o' or t.name == 'a') and w.held >= t.status
    if back or t.ends <= now then
      w.over[#w.over + 1] = t.field
      w.seen = math.max(w.seen, t.since)
    else
      if t.status > w.best then w.best = t.status end
      if not w.next or t.ends < w.next then w.next = t.ends end
    end
  end
  return w
end

-- Takes away what is over, and notes when to look again: soon, should nobody tell what is to be told.
-- True: what was told is not what is.
local function settle(user, user_key, due_key, w)
  if #w.over > 0 then
    redis.call('HDEL', user_key, unpack(w.over))
    redis.call('HSET', user_key, 'seen', integer(w.seen))
  end
  local look_at = w.next
  if w.best ~= w.told then
    look_at = now + 2000
  elseif w.best == '' then
    redis.call('DEL', user_key)
  end
  if look_at then
    redis.call('ZADD', due_key, integer(look_at), user)
  else
    redis.call('ZREM', due_key, user)
  end
  return w.best ~= w.told
end
