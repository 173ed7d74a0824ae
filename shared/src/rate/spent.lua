-- Takes the tokens that users have spent on one node from the buckets that all nodes share. The value of a key is the
-- time at which the user's bucket is full again (generic cell rate algorithm), in us since 1970; no value = it is full.
--
-- KEYS: one for each user and kind of command
-- ARGV: age_us: the time before now during which the tokens were spent; then for each key: the time in which the bucket
--   regains the spent tokens, and the time in which an empty bucket becomes full, both in us
--
-- Answers  for each key the ms until the bucket has a token again, or 0

local clock = redis.call('TIME')
local now_us = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
-- Longest time until a bucket has a token again, however many tokens were spent.
local MAX_WAIT_US = 120 * 1000000

local waits = {}
for i = 1, #KEYS do
  local spent_us, burst_us = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local full_us = tonumber(redis.call('GET', KEYS[i]) or 0)
  local max_us = now_us + burst_us + MAX_WAIT_US
  -- A value above the maximum was written before the clock was set back, and is ignored.
  if full_us > max_us then full_us = 0 end
  full_us = math.min(math.max(full_us, now_us - tonumber(ARGV[1])) + spent_us, max_us)
  local left_ms = math.ceil((full_us - now_us) / 1000)
  if left_ms > 0 then
    redis.call('SET', KEYS[i], string.format('%.0f', full_us), 'PX', string.format('%d', left_ms))
  end
  waits[i] = math.max(0, math.ceil((full_us - now_us - burst_us) / 1000))
end
return waits
