-- Publishes live-only records (typing, signals) of one room. A record is published only if the membership marks in the
-- room's hash still allow its sender to send it, so no record of a removed sender is published after the removal.
-- The loaded text begins with `local EPOCH` and the ranks of roles, as in append.lua.
--
-- room_key: the room's hash, and the name of its channel
-- ARGV: for each record: sender, min_role as in append.lua, the only recipient or '', the header's fields
--   from `room` on (record.rs), JSON
--
-- Answers  {'ok', outcome …}  one per record: 'ok', 'revoked' (the sender was removed), 'role' (the sender's role is
--          below min_role), or 'gone' (the only recipient was removed)
--          {'archived'}  the room is archived, and nothing was published
--          {'seed'} as in append.lua

local room_key = unpack(KEYS)

local epoch, archived = unpack(redis.call('HMGET', room_key, 'epoch', 'archived'))
if epoch ~= EPOCH then return {'seed'} end
if archived == '1' then return {'archived'} end

local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local function role_of(user)
  local mark = user ~= '' and redis.call('HGET', room_key, 'mark:' .. user)
  return mark and string.match(mark, '^%S+')
end

local answer = {'ok'}
for i = 1, #ARGV, 5 do
  local sender, min_role, to, header_rest, json = unpack(ARGV, i, i + 4)
  min_role = tonumber(min_role)
  local role = min_role > ANYONE and role_of(sender)
  if role == REMOVED then
    answer[#answer + 1] = 'revoked'
  elseif role and rank(role) < min_role then
    answer[#answer + 1] = 'role'
  elseif role_of(to) == REMOVED then
    answer[#answer + 1] = 'gone'
  else
    local header = '1\31' .. EPOCH .. '\0310\31' .. now_ms .. '\31' .. header_rest
    redis.call('PUBLISH', room_key, header .. '\n' .. json)
    answer[#answer + 1] = 'ok'
  end
end
return answer
