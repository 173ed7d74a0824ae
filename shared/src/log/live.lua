-- Publishes live-only records of one room if their senders are still allowed to: nothing of a removed sender is
-- published after the removal.
-- The first line of the loaded text is `local EPOCH = '<epoch>'` (see append.lua).
--
-- KEYS  1 room hash (also the channel)
-- ARGV  groups of five: sender, lowest role a marked sender needs (see append.lua), the only recipient or '', rest of
--       the record's header from the room on, JSON
--
-- Answers  {'ok', outcome …}  one per group: 'ok', 'revoked', 'role', or 'gone' if the only recipient was removed
--          {'archived'}  nothing was published
--          {'seed'} as in append.lua

local RANKS = {guest = 0, admin = 2, owner = 3}

local room = redis.call('HMGET', KEYS[1], 'epoch', 'archived')
if room[1] ~= EPOCH then return {'seed'} end
if room[2] == '1' then return {'archived'} end

local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local function role_of(user)
  local mark = user ~= '' and redis.call('HGET', KEYS[1], 'mark:' .. user)
  return mark and string.match(mark, '^%S+')
end

local answer = {'ok'}
for i = 1, #ARGV, 5 do
  local least = tonumber(ARGV[i + 1])
  local role = least >= 0 and role_of(ARGV[i])
  if role == 'removed' then
    answer[#answer + 1] = 'revoked'
  elseif role and (RANKS[role] or 1) < least then
    answer[#answer + 1] = 'role'
  elseif role_of(ARGV[i + 2]) == 'removed' then
    answer[#answer + 1] = 'gone'
  else
    local header = '1\31' .. EPOCH .. '\0310\31' .. now_ms .. '\31' .. ARGV[i + 3]
    redis.call('PUBLISH', KEYS[1], header .. '\n' .. ARGV[i + 4])
    answer[#answer + 1] = 'ok'
  end
end
return answer
