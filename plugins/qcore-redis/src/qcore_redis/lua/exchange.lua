-- Takes from the default queue; behind `streams` from many.
--
-- ARGV: limit, token of the new lease, milliseconds it lasts, whether to sweep, milliseconds the
-- caller would wait, number of results (below zero: not all are plain successes), number of messages
-- that follow from them, number of leases to settle, whether the highest id that has ended is asked for,
-- with `streams` the queues;
-- then results (id and value), then messages (see `put`), then leases, then the arguments of `remember`.
-- Returns the items taken, and that id behind them, or the milliseconds to wait for the first, as a text
-- where that is a wait at `qw`; -1: nothing was taken, because there are other queues, or paused ones.
local limit, token, lasts = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local results = tonumber(ARGV[6])
local at = order and 11 or 10
if results ~= 0 then save(at, math.abs(results), results > 0) end
at = at + math.abs(results) * 2
if ARGV[7] ~= '0' then
  put(at, at + ARGV[7] * 3 - 1)
  at = at + ARGV[7] * 3
end
local heads = {}
for _ = 1, tonumber(ARGV[8]) do at = settle(at, heads) end
to_head(heads)
local high = at < #ARGV and remember(at)
if limit == 0 then return 0 end
if not order and raw('EXISTS', P .. 'qs', P .. 'qp') > 0 then return -1 end
if ARGV[4] == '1' then
  sweep()
  tidy(100)
end
local function taken()
  local items = take(limit, token, lasts)
  if items and ARGV[9] == '1' then items[#items + 1] = high or call('GET', P .. 'oh') or '' end
  return items
end
local items = taken()
if items then return items end
if ARGV[4] ~= '1' then
  sweep()
  items = taken()
  if items then return items end
end
local wait = math.min(tonumber(ARGV[5]), next_event())
-- before it waits, so that a worker that dies with what it got loses nothing
if wait > 0 then call('ZADD', L, now + wait + lasts, token) end
if order and wait > 0 then return hand_on(wait) end
return wait
