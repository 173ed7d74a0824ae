-- Sets a state with an end, for a user without a connection.
-- KEYS  1 user  2 due  3 leases
-- ARGV  1 user  2 kind  3 o, a, or '': the present state of this kind, else o  4 ms
-- Answers 'told': the published state is up to date; 'tell': a change must be published.
local field, status = 'x:' .. ARGV[2], ARGV[3]
if status == '' then
  local held, ends = string.match(redis.call('HGET', KEYS[1], field) or '', '^(%a) (%d+) ')
  status = held and tonumber(ends) > now and held or 'o'
end
redis.call('HSET', KEYS[1], field, status .. ' ' .. integer(now + ARGV[4]) .. ' ' .. integer(now))
return settle(ARGV[1], KEYS[1], KEYS[2], weigh(KEYS[1], KEYS[3])) and 'tell' or 'told'
