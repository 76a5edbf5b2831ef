-- ARGV: how many at most, = and a queue (* is all). Returns of messages that are not leased their body, queue,
-- priority and the milliseconds until they are due; those that are leased first in front.
local PIECE = 500
local most, all, queue = tonumber(ARGV[1]), ARGV[2] == '*', sub(ARGV[2], 2)
local found = {}

local function show(item, delay)
  if not is_message(item) then return end
  local route = part(item)
  if not all and sub(route, 4) ~= queue then return end
  local priority = route == '' and 0 or byte(route, 2) - 101
  local values = {body_of(item), sub(route, 4), priority, math.max(0, math.min(delay, 1e15))}
  for _, value in ipairs(values) do found[#found + 1] = value end
  return #found >= most * 4
end

-- Show what is in a list; true if it is enough.
local function show_list(key)
  local at = 0
  while true do
    local items = call('LRANGE', key, at, at + PIECE - 1)
    for _, item in ipairs(items) do
      if show(item, 0) then return true end
    end
    if #items < PIECE then return false end
    at = at + PIECE
  end
end

local streams = call('ZRANGE', all and P .. 'qs' or P .. 'qs:' .. queue, 0, -1, 'WITHSCORES')
local default = not all and queue ~= ''
for i = 1, #streams, 2 do
  if not default and tonumber(streams[i + 1]) > 0 then
    default = true
    if show_list(Q) then return found end
  end
  if show_list(P .. 'q:' .. streams[i]) then return found end
end
if not default and show_list(Q) then return found end
local at = 0
while true do
  local members = call('ZRANGE', D, at, at + PIECE - 1, 'WITHSCORES')
  for i = 1, #members, 2 do
    if show(sub(members[i], 9), members[i + 1] - now) then return found end
  end
  if #members < PIECE * 2 then return found end
  at = at + PIECE
end
