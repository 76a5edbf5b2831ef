-- Looks for messages by id and changes nothing.
--
-- ARGV: how many messages to read at most, then ids. Returns those that are there; nil: there are more.
local ID, PIECE = 26, 200
local wanted, found, seen, most = {}, {}, 0, tonumber(ARGV[1])
for i = 2, #ARGV do wanted[ARGV[i]] = true end

-- Look at one item, of which the first bytes may be something else.
local function look(item, start)
  if byte(item, start) == 8 then start = start + #part(sub(item, start)) end
  local flags = byte(item, start)
  if not flags or flags > 3 then return end
  local rest = start + (flags % 2 == 1 and 21 or 1)
  local id = sub(item, rest + ID, rest + ID + 15)
  if flags >= 2 then id = call('GETRANGE', P .. 'b:' .. sub(item, rest), ID, ID + 15) end
  if wanted[id] then
    found[#found + 1] = id
    wanted[id] = nil
  end
end

-- Look at all of a key, some at a time; false if there are more than may be read.
local function read(command, key, start)
  local from = 0
  while true do
    local items = call(command, key, from, from + PIECE - 1)
    for _, item in ipairs(items) do look(item, start) end
    from, seen = from + #items, seen + #items
    if #items < PIECE then return true end
    if seen >= most then return false end
  end
end

for _, token in ipairs(call('ZRANGE', L, 0, -1)) do
  if not read('LRANGE', LEASE .. token, 1) then return false end
end
if not read('LRANGE', Q, 1) or not read('ZRANGE', D, 9) then return false end
for _, stream in ipairs(call('ZRANGE', P .. 'qs', 0, -1)) do
  if not read('LRANGE', P .. 'q:' .. stream, 1) then return false end
end
local letters = call('ZRANGE', P .. 'xz', 0, most)
if seen + #letters > most then return false end
for _, name in ipairs(letters) do
  local letter = call('HGET', P .. 'x', name)
  if letter and #letter >= 20 then look(letter, 21 + struct.unpack('>I4', letter, 17)) end
end
return found
