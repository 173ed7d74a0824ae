-- Publishes the present state of a user, if it differs from the published state. Of several concurrent callers only one
-- publishes it.
-- KEYS  1 user  2 due  3 leases  4 gone  5 told
-- ARGV  1 user  2 channel  3 most users in `gone`  4.. rooms whose members receive the change
-- Answers 'published'; 'told': another caller has published it, or the state has not changed.
local MAX_CHANGES, CHANGES_TTL_S = 500, 60
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
-- The stream keeps changes for a while, for nodes that missed them.
local id = redis.call('XADD', KEYS[5], 'MAXLEN', '~', MAX_CHANGES, '*', 't', told)
redis.call('EXPIRE', KEYS[5], CHANGES_TTL_S)
redis.call('PUBLISH', ARGV[2], id .. ' ' .. told)
return 'published'
