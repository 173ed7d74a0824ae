-- Reads the present states of users of one partition, whether these states are published or not.
-- KEYS from FIRST_USER on: the hashes of the users of ARGV, in the same order
-- Answers two texts for each user: the status (o = online, a = away, '' = offline); and the time when the user was last
-- seen, ms, or '' if the user is not offline or Redis does not know the time.
local leases_key, last_seen_key = unpack(KEYS, 1, 2)
local FIRST_USER = 3
local answer = {}
for i = 1, #ARGV do
  local w = combine_states(KEYS[FIRST_USER + i - 1], leases_key)
  local seen = w.best == '' and math.max(w.seen, tonumber(redis.call('HGET', last_seen_key, ARGV[i])) or 0) or 0
  answer[#answer + 1] = w.best
  answer[#answer + 1] = seen > 0 and integer(seen) or ''
end
return answer
