-- Takes messages out of `d`, `q` or a stream, from the last to the first: what is leased goes from the front, and
-- what is added behind is seen twice at worst.
-- k  how many all who do so have taken out: by so many may others have moved that are not seen yet
--
-- ARGV: `d`, `q` or `q:` and a stream, how many were seen, `k` by then, how many to see, then ids.
-- Returns how many are seen by now (-1: all; -2: all, and there are streams) and `k`, then bodies.
local ID, MINUTES = 26, 600000
-- messages read at once, and bytes after which this step ends
local PIECE, BYTES = 50, 524288
local delayed, most, list = ARGV[1] == 'd', tonumber(ARGV[4]), P .. ARGV[1]
local taken = tonumber(call('GET', P .. 'k') or 0) or 0
local moved = taken - ARGV[3]
-- below zero: `k` has expired meanwhile, begin anew
local seen = moved < 0 and 0 or math.max(0, ARGV[2] - moved)
local wanted = {}
for i = 5, #ARGV do wanted[ARGV[i]] = true end
local found, bytes, gone = {0, taken}, 0, 0

-- Remove a message that is wanted and return its body; nil if it is not.
local function remove_item(member, index)
  local start = delayed and 9 or 1
  if byte(member, start) == 8 then start = start + #part(sub(member, start)) end
  local flags = byte(member, start)
  if not flags or flags > 3 then return nil end
  -- the body, or the id of one that lies apart
  local rest = start + (flags % 2 == 1 and 21 or 1)
  local far = flags >= 2 and P .. 'b:' .. sub(member, rest)
  local id = far and call('GETRANGE', far, ID, ID + 15) or sub(member, rest + ID, rest + ID + 15)
  if not wanted[id] then return nil end
  local body = far and (call('GET', far) or '') or sub(member, rest)
  if far then raw('UNLINK', far) end
  if delayed then call('ZREM', D, member) else call('LSET', list, index, '') end
  return body
end

sweep()
local done = false
while not done and most > 0 and bytes < BYTES do
  local from = delayed and seen - gone or seen
  local members
  if delayed then
    members = call('ZREVRANGE', D, from, from + PIECE - 1)
  else
    members = call('LRANGE', list, -from - PIECE, -from - 1)
  end
  done = #members < PIECE
  for i = 1, #members do
    local member = members[delayed and i or #members - i + 1]
    local body = remove_item(member, -from - i)
    bytes = bytes + #member
    seen, most = seen + 1, most - 1
    if body then
      found[#found + 1] = body
      gone, bytes = gone + 1, bytes + #body
    end
    if bytes >= BYTES and i < #members then
      done = false
      break
    end
  end
end
if gone > 0 then
  if not delayed then call('LREM', list, -gone, '') end
  call('INCRBY', P .. 'k', gone)
  raw('PEXPIRE', P .. 'k', MINUTES)
end
-- more leases have ended than were given back: that is to the front, which is seen next
if done and not delayed and call('ZCOUNT', L, '-inf', now) > 0 then done = false end
found[1] = seen
if done then found[1] = raw('EXISTS', P .. 'qs') == 1 and -2 or -1 end
return found
