-- ARGV: how many at most. Returns how many messages were removed, and whether there are more.
sweep()
local limit = tonumber(ARGV[1])
local items = call('LPOP', Q, limit) or {}
if #items == 0 then
  local stream = call('ZRANGE', P .. 'qs', 0, 0)[1]
  if stream then
    items = call('LPOP', P .. 'q:' .. stream, limit) or {}
    if #items == 0 then forget_stream(stream) end
    -- there may be others
    items[#items + 1] = char(4)
  end
end
if #items == 0 then
  items = call('ZRANGE', D, 0, limit - 1)
  if #items > 0 then call('ZREM', D, unpack(items)) end
  for i, member in ipairs(items) do items[i] = sub(member, 9) end
end
local count = 0
for _, item in ipairs(items) do
  if is_message(item) then count = count + 1 end
end
drop_bodies(items)
return {count, #items}
