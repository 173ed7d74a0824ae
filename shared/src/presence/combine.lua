-- Functions that combine the states of a user into one state. The text of each presence script begins with them.
-- A user's hash:  `n:<lease>`  the state under a node lease: o online, a away
--                 `x:<kind>`   a state with an end: `<o|a> <until ms> <since ms>`. Kinds `o` and `a` are the grace
--                              period of closed connections; `http` and `poll` are users without a connection
--                 `s`          the published state: o, a, or missing if the user is offline
--                 `seen`       when the user was last present, according to the states that have expired, ms
-- A partition's leases are a sorted set: node lease → expiry time, ms. A negative time means expired for ever.
local LEASE_MS, GRACE_MS = 15000, 10000

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function integer(number) return string.format('%d', number) end

local function lease_of(leases_key, lease_id) return tonumber(redis.call('ZSCORE', leases_key, lease_id)) or 0 end

-- Returns whether states under a node lease are valid. `lease` is the expiry time of the lease. The states are valid
-- until the grace period after this time ends.
local function is_alive(lease) return lease > 0 and lease + GRACE_MS > now end

-- Returns a table with `held`: the highest state under node leases; `best`: the highest of all states; `published`: the
-- published state; `seen`: when the user was last seen, ms; `next`: when the first state with an end expires, ms;
-- `expired`: the names of fields that have expired. The order of states is offline (''), away, online.
local function combine_states(user_key, leases_key)
  local w = { held = '', best = '', published = '', seen = 0, expired = {} }
  local timed = {}
  local fields = redis.call('HGETALL', user_key)
  for i = 1, #fields, 2 do
    local field, value = fields[i], fields[i + 1]
    local kind, name = string.match(field, '^([nx]):(.*)$')
    if kind == 'n' then
      local lease = lease_of(leases_key, name)
      if is_alive(lease) then
        if value > w.held then w.held = value end
      else
        w.expired[#w.expired + 1] = field
        w.seen = math.max(w.seen, math.abs(lease) - LEASE_MS)
      end
    elseif kind == 'x' then
      local status, ends, since = string.match(value, '^(%a) (%d+) (%d+)$')
      timed[#timed + 1] = { field = field, name = name, status = status, ends = tonumber(ends), since = tonumber(since) }
    elseif field == 's' then
      w.published = value
    elseif field == 'seen' then
      w.seen = math.max(w.seen, tonumber(value))
    end
  end
  w.best = w.held
  for _, t in ipairs(timed) do
    -- If the user has a connection again, the grace period ends, so that the next state that the user sets applies at
    -- once.
    local back = (t.name == 'o' or t.name == 'a') and w.held >= t.status
    if back or t.ends <= now then
      w.expired[#w.expired + 1] = t.field
      w.seen = math.max(w.seen, t.since)
    else
      if t.status > w.best then w.best = t.status end
      if not w.next or t.ends < w.next then w.next = t.ends end
    end
  end
  return w
end

-- Removes expired fields from the user's hash. Sets the time when the sweep checks the user: when the next state
-- expires, or after 2 s if a change must be published, in case no gateway publishes the change. Returns whether the
-- published state differs from the present state.
local function schedule_check(user, user_key, due_key, w)
  if #w.expired > 0 then
    redis.call('HDEL', user_key, unpack(w.expired))
    redis.call('HSET', user_key, 'seen', integer(w.seen))
  end
  local look_at = w.next
  if w.best ~= w.published then
    look_at = now + 2000
  elseif w.best == '' then
    redis.call('DEL', user_key)
  end
  if look_at then
    redis.call('ZADD', due_key, integer(look_at), user)
  else
    redis.call('ZREM', due_key, user)
  end
  return w.best ~= w.published
end
