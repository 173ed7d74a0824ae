-- Functions that decide whether a client id that Redis does not remember is new. append.lua and append_many.lua are
-- loaded with this text before them.
-- A UUIDv7 contains the time at which a client made it. The newest window of client ids has the field `new_from`: an
-- epoch and a time (ms since 1970). Invariant: each client id that this epoch lacks in its windows has a time below
-- `new_from`, or was never appended, or the hash `{p}:sent:ahead` names its sender. So a client id from `new_from` on
-- that no window contains is new. Only the clock of Redis takes part in this decision. After a jump of this clock more
-- client ids are looked up.

-- Length of a window of client ids.
local WINDOW_S = 600
-- A client id may be ahead of the clock of Redis by this time, because no two clocks are equal.
local MAX_AHEAD_MS = 60 * 1000
-- A new epoch may lack client ids that another process remembered, and the clocks of the two processes differ.
local EPOCH_MARGIN_MS = 300 * 1000

-- The time in the field `new_from`; nil if the field is missing or of another epoch. An earlier version of the services
-- begins windows without this field.
local function parse_new_from(field)
  local epoch, ms = string.match(field or '', '^(%d+) (%d+)$')
  return epoch == EPOCH and tonumber(ms) or nil
end

-- Whether a client id with this time is new, if no window contains it. `ahead` and `others_ahead` are fields of the
-- hash `{p}:sent:ahead`: the latest time of a client id that was ahead, of this sender and of the senders without a
-- field.
local function is_new(id_ms, new_from, now_ms, ahead, others_ahead)
  return id_ms >= new_from and id_ms <= now_ms + MAX_AHEAD_MS and id_ms > tonumber(ahead or 0)
    and id_ms > tonumber(others_ahead or 0)
end
