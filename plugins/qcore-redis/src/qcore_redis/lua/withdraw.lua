-- Takes messages out of `d` or `q`, from the last to the first: what is leased goes from the front, and
-- what is added behind is seen twice at worst.
-- ARGV: `d` or `q`, how many were seen, how many to see, then ids.
-- Returns how many are seen by now (below zero: all), then bodies.
local BYTES, ID = 8388608, 26
-- others who withdraw at the same time move what is not seen yet by as many as they take
local AGAIN = 50
local seen, most, delayed = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[1] == 'd'
local wanted = {}
for i = 4, #ARGV do wanted[ARGV[i]] = true end

local found, bytes, gone, looked = {0}, 0, 0, 0
local members = delayed and call('ZREVRANGE', D, seen, seen + most - 1) or call('LRANGE', Q, -seen - most, -seen - 1)
for i = 1, #members do
  if bytes > BYTES then break end
  local member = members[delayed and i or #members - i + 1]
  local start = delayed and 9 or 1
  looked = i
  local flags = byte(member, start)
  if flags ~= 4 then
    -- the body, or the id of one that lies apart
    local rest = start + (flags % 2 == 1 and 21 or 1)
    local far = flags >= 2 and P .. 'b:' .. sub(member, rest)
    local id = far and call('GETRANGE', far, ID, ID + 15) or sub(member, rest + ID, rest + ID + 15)
    if wanted[id] then
      local body = far and (call('GET', far) or '') or sub(member, rest)
      if far then call('UNLINK', far) end
      if delayed then call('ZREM', D, member) else call('LSET', Q, -seen - i, '') end
      found[#found + 1] = body
      gone = gone + 1
      bytes = bytes + #body
    end
  end
end
if gone > 0 and not delayed then call('LREM', Q, -gone, '') end
if looked == #members and #members < most then
  found[1] = -1
else
  found[1] = math.max(0, seen + looked - gone - AGAIN)
end
return found
