-- ARGV: `q`, `q:` and a stream, `d` or `l`, where to begin, how many at most. Returns how many were seen, then
-- the four bytes that name the key of each message; of `l`, that is all leases, all messages at once.
local KEY = 6
local found, seen = {}, 0

local function count(item)
  if not is_message(item) then return end
  local _, inner = part(item)
  local flags, _, _, _, rest = read(inner)
  if flags >= 2 then
    found[#found + 1] = call('GETRANGE', P .. 'b:' .. rest, KEY, KEY + 3)
  else
    found[#found + 1] = sub(rest, KEY + 1, KEY + 4)
  end
end

local from, to = tonumber(ARGV[2]), ARGV[2] + ARGV[3] - 1
if ARGV[1] == 'd' then
  for _, member in ipairs(call('ZRANGE', D, from, to)) do seen = seen + 1; count(sub(member, 9)) end
elseif ARGV[1] ~= 'l' then
  for _, item in ipairs(call('LRANGE', P .. ARGV[1], from, to)) do seen = seen + 1; count(item) end
else
  for _, token in ipairs(call('ZRANGE', L, 0, -1)) do
    for _, item in ipairs(call('LRANGE', LEASE .. token, 0, -1)) do count(item) end
  end
end
table.insert(found, 1, seen)
return found
