-- Removes the messages of a queue that are not leased, or puts them into another one.
--
-- ARGV: queue, = and the other one (empty: they are removed), where to go on (-1: at the front of what is
-- ready, else at this place in `d`), how many at most.
-- Returns how many they were, and where to go on (-2: nowhere).
local queue, from, most = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local target = ARGV[2] ~= '' and sub(ARGV[2], 2)
local count = 0

-- The item as it is in the other queue, with its priority; nil if it is removed.
local function changed(item)
  count = count + 1
  if not target then return drop_bodies({item}) end
  local route, inner = part(item)
  local priority = route == '' and 101 or byte(route, 2)
  if target == '' and priority == 101 then return inner end
  return char(8, priority, #target) .. target .. inner
end

sweep()
if from < 0 then
  local lists = queue == '' and {Q} or {}
  local streams = call('ZRANGE', P .. 'qs:' .. queue, 0, -1)
  for _, stream in ipairs(streams) do lists[#lists + 1] = P .. 'q:' .. stream end
  for i, list in ipairs(lists) do
    for _, item in ipairs(call('LPOP', list, most - count) or {}) do
      local other = is_message(item) and changed(item)
      if other then add('RPUSH', other) end
    end
    local stream = streams[queue == '' and i - 1 or i]
    if stream and raw('EXISTS', list) == 0 then forget_stream(stream) end
    if count >= most then return {count, -1} end
  end
  return {count, 0}
end
local members = call('ZRANGE', D, from, from + most - 1, 'WITHSCORES')
for i = 1, #members, 2 do
  local item = sub(members[i], 9)
  local route = part(item)
  if is_message(item) and sub(route, 4) == queue then
    call('ZREM', D, members[i])
    local other = changed(item)
    if other then put_later(other, members[i + 1]) end
  end
end
if #members < most * 2 then return {count, -2} end
return {count, from + most - count}
