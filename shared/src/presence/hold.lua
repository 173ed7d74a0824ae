-- Sets a state that expires, for a user without a connection. `o` is online, `a` is away.
-- kind: poll or http   status: o or a; '' = keep the present state of this kind, or o if there is none
-- kept_ms: how long the state is valid
-- Answers 'told' if the published state is up to date, or 'tell' if a change must be published.
local user_key, due_key, leases_key = unpack(KEYS)
local user, kind, status, kept_ms = unpack(ARGV)
local field = 'x:' .. kind
if status == '' then
  local held, ends = string.match(redis.call('HGET', user_key, field) or '', '^(%a) (%d+) ')
  status = held and tonumber(ends) > now and held or 'o'
end
redis.call('HSET', user_key, field, status .. ' ' .. integer(now + kept_ms) .. ' ' .. integer(now))
return schedule_check(user, user_key, due_key, combine_states(user_key, leases_key)) and 'tell' or 'told'
