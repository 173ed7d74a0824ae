-- Appends a marks record without marks to a partition's stream, so that the record before it can be trimmed once both
-- are stored.
-- The first line of the loaded text is `local EPOCH = '<epoch>'` (see append.lua).
--
-- KEYS  1 ingest
-- ARGV  1 rest of the record's header, from the room on
--
-- Answers  {at_ms, ingest id}

local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local header = '1\31' .. EPOCH .. '\0310\31' .. now_ms .. '\31' .. ARGV[1]
return {now_ms, redis.call('XADD', KEYS[1], '*', 'r', header .. '\n[]')}
