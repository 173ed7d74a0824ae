-- Appends an empty marks record (without read or delivered marks) to a partition's ingest stream. When the empty record
-- is stored, stored.lua trims all earlier records of the stream.
-- The loaded text begins with `local EPOCH`, as in append.lua. The record is too small to count as backlog
-- (backlog.lua).
--
-- header_rest: the header's fields from `room` on (record.rs)
--
-- Answers  {at_ms, ingest id}

local ingest_key, header_rest = KEYS[1], ARGV[1]
local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local header = '1\31' .. EPOCH .. '\0310\31' .. now_ms .. '\31' .. header_rest
return {now_ms, redis.call('XADD', ingest_key, '*', 'r', header .. '\n[]')}
