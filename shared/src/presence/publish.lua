-- Publishes the current state of a user, if it differs from the published state. Of several concurrent callers only one
-- publishes the state.
-- publish: the command that publishes, PUBLISH or SPUBLISH
-- last_seen_key: hash of offline users and when each was last seen. It holds at most max_last_seen users: a new user
-- beyond that is not added
-- changes_key: the stream of published changes
-- After max_last_seen: rooms whose members receive the change
-- Answers 'published', or 'told' if the published state is up to date.
local user_key, due_key, leases_key, last_seen_key, changes_key = unpack(KEYS)
local user, publish, channel, max_last_seen = unpack(ARGV, 1, 4)
local FIRST_ROOM = 5
local MAX_CHANGES, CHANGES_TTL_S = 500, 60
local w = combine_states(user_key, leases_key)
if w.best == w.published then
  schedule_check(user, user_key, due_key, w)
  return 'told'
end
local seen = 0
if w.best == '' then
  seen = w.seen > 0 and w.seen or now
  redis.call('DEL', user_key)
  redis.call('ZREM', due_key, user)
  if redis.call('HLEN', last_seen_key) < tonumber(max_last_seen) or redis.call('HEXISTS', last_seen_key, user) == 1 then
    redis.call('HSET', last_seen_key, user, integer(seen))
  end
else
  redis.call('HSET', user_key, 's', w.best)
  w.published = w.best
  schedule_check(user, user_key, due_key, w)
end
local change = { '1', user, w.best == '' and '-' or w.best, integer(seen) }
for i = FIRST_ROOM, #ARGV do change[#change + 1] = ARGV[i] end
change = table.concat(change, ' ')
-- The stream keeps published changes for a while, for nodes that missed them.
local id = redis.call('XADD', changes_key, 'MAXLEN', '~', MAX_CHANGES, '*', 't', change)
redis.call('EXPIRE', changes_key, CHANGES_TTL_S)
redis.call(publish, channel, id .. ' ' .. change)
return 'published'
