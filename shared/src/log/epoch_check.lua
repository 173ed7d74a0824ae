-- Begins the text of each script in a Redis Cluster: the script runs only if `{p}:epoch` is its epoch. All keys of a
-- call belong to one partition. The loaded text begins with EPOCH, as in append.lua.
--
-- KEYS: the keys of the script, then `{p}:epoch`, then `{p}:none`, which never exists. While the slot moves, at least
--   one declared key is therefore missing, so Redis answers TRYAGAIN or ASK before it begins the script. The check
--   removes both keys, so that the script finds only its own.
--
-- Error    `EPOCHENDED {p}:epoch` if the partition has another epoch. Then nothing is written.

table.remove(KEYS)
local epoch_mark_key = table.remove(KEYS)
if redis.call('GET', epoch_mark_key) ~= EPOCH then return redis.error_reply('EPOCHENDED ' .. epoch_mark_key) end
