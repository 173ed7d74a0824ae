-- What users of one partition are now, whatever was told of them; changes nothing.
-- KEYS  1 lives  2 gone  3.. users      ARGV  the users, in the same order
-- Answers for each two texts: o, a or ''; and when they were seen last, ms, or '' if that is not known here.
local answer = {}
for i = 1, #ARGV do
  local w = weigh(KEYS[i + 2], KEYS[1])
  local seen = w.best == '' and math.max(w.seen, tonumber(redis.call('HGET', KEYS[2], ARGV[i])) or 0) or 0
  answer[#answer + 1] = w.best
  answer[#answer + 1] = seen > 0 and integer(seen) or ''
end
return answer
