-- Publishes the current state of a user, if it differs from the published state. Of several concurrent callers only one
-- publishes the state. Is loaded after weigh.lua, which has the functions and `now`.
-- gone_key: hash of offline users and when each was last seen. It holds at most max_gone users: a new user beyond that is
-- not added
-- changes_key: the stream of published changes
-- After max_gone: rooms whose members receive the change
-- Answers 'published', or 'told' if the published state is up to date.
local user_key, due_key, leases_key, gone_key, changes_key = unpack(KEYS)
local user, channel, max_gone = unpack(ARGV, 1, 3)
local FIRST_ROOM = 4
local MAX_CHANGES, CHANGES_TTL_S = 500, 60
local w = weigh(user_key, leases_key)
if w.best == w.told then
  settle(user, user_key, due_key, w)
  return 'told'
end
local seen = 0
if w.best == '' then
  seen = w.seen > 0 and w.seen or now
  redis.call('DEL', user_key)
  redis.call('ZREM', due_key, user)
  if redis.call('HLEN', gone_key) < tonumber(max_gone) or redis.call('HEXISTS', gone_key, user) == 1 then
    redis.call('HSET', gone_key, user, integer(seen))
  end
else
  redis.call('HSET', user_key, 's', w.best)
  w.told = w.best
  settle(user, user_key, due_key, w)
end
local told = { '1', user, w.best == '' and '-' or w.best, integer(seen) }
for i = FIRST_ROOM, #ARGV do told[#told + 1] = ARGV[i] end
told = table.concat(told, ' ')
-- The stream keeps published changes for a while, for nodes that missed them.
local id = redis.call('XADD', changes_key, 'MAXLEN', '~', MAX_CHANGES, '*', 't', told)
redis.call('EXPIRE', changes_key, CHANGES_TTL_S)
redis.call('PUBLISH', channel, id .. ' ' .. told)
return 'published'
