-- Tells what a user is by now, if that is not what was told last. Of those who do so at the same time one publishes.
-- KEYS  1 user  2 due  3 lives  4 gone  5 told
-- ARGV  1 user  2 channel  3 most users that `gone` may hold  4.. rooms whose members are told
-- Answers 'published'; 'told': by another, or it is as it was.
local KEPT, KEPT_S = 500, 60
local user = ARGV[1]
local w = weigh(KEYS[1], KEYS[3])
if w.best == w.told then
  settle(user, KEYS[1], KEYS[2], w)
  return 'told'
end
local seen = 0
if w.best == '' then
  seen = w.seen > 0 and w.seen or now
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], user)
  if redis.call('HLEN', KEYS[4]) < tonumber(ARGV[3]) or redis.call('HEXISTS', KEYS[4], user) == 1 then
    redis.call('HSET', KEYS[4], user, integer(seen))
  end
else
  redis.call('HSET', KEYS[1], 's', w.best)
  w.told = w.best
  settle(user, KEYS[1], KEYS[2], w)
end
local told = { '1', user, w.best == '' and '-' or w.best, integer(seen) }
for i = 4, #ARGV do told[#told + 1] = ARGV[i] end
told = table.concat(told, ' ')
-- Kept for a while, for those who did not hear it.
local id = redis.call('XADD', KEYS[5], 'MAXLEN', '~', KEPT, '*', 't', told)
redis.call('EXPIRE', KEYS[5], KEPT_S)
redis.call('PUBLISH', ARGV[2], id .. ' ' .. told)
return 'published'
