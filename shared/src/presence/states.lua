-- The present states of users of one partition, whatever was published. Changes nothing.
-- KEYS  1 leases  2 gone  3.. users      ARGV  the users, in the same order
-- Answers two texts for each user: o, a or ''; and when the user was last seen, ms, or '' if it is not known here.
local answer = {}
for i = 1, #ARGV do
  local w = weigh(KEYS[i + 2], KEYS[1])
  local seen = w.best == '' and math.max(w.seen, tonumber(redis.call('HGET', KEYS[2], ARGV[i])) or 0) or 0
  answer[#answer + 1] = w.best
  answer[#answer + 1] = seen > 0 and integer(seen) or ''
end
return answer
