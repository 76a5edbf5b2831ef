-- Looks at items and changes nothing.

local function body_of(item)
  local _, inner = part(item)
  local flags, _, _, _, rest = read(inner)
  if flags >= 2 then return call('GET', P .. 'b:' .. rest) or '' end
  return rest
end

-- Return how many calls are in front of a list, then the id and the body of its first message, if there is one.
local function front(key)
  local calls = 0
  while call('LINDEX', key, calls) == char(4) do calls = calls + 1 end
  local first = call('LINDEX', key, calls)
  if not is_message(first) then return calls end
  local body = body_of(first)
  return calls, sub(body, 27, 42), body
end
