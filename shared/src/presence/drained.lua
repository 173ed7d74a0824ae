-- Removes the stored "last seen" times, unless they have changed.
-- KEYS  1 gone      ARGV  user, ms pairs
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return 1
