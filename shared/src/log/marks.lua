-- Appends read or delivered marks of a room's members: one record without a seq, for persistence only.
-- The first line of the loaded text is `local EPOCH = '<epoch>'` (see append.lua).
--
-- KEYS  1 room hash  2 ingest
-- ARGV  1 bound of the ingest stream, records; 0 = none
--       2 rest of the record's header, from the room on
--       3.. triples: kind ('read' or 'delivered'), user as JSON string, seq
--
-- Answers  {'ok', head seq, at_ms, ingest id}: marks above the head were clamped to it
--          {'seed'} {'full'} as in append.lua

local room = redis.call('HMGET', KEYS[1], 'seq', 'epoch')
if room[2] ~= EPOCH then return {'seed'} end
local bound = tonumber(ARGV[1])
if bound > 0 and redis.call('XLEN', KEYS[2]) >= bound then return {'full'} end

local head = tonumber(room[1])
local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local marks = {}
for i = 3, #ARGV, 3 do
  marks[#marks + 1] = '["' .. ARGV[i] .. '",' .. ARGV[i + 1] .. ',' .. math.min(tonumber(ARGV[i + 2]), head) .. ']'
end
local header = '1\31' .. EPOCH .. '\0310\31' .. now_ms .. '\31' .. ARGV[2]
local ingest = redis.call('XADD', KEYS[2], '*', 'r', header .. '\n[' .. table.concat(marks, ',') .. ']')
return {'ok', head, now_ms, ingest}
