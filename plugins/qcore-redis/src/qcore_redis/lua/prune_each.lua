-- Walks the successes from the newest to the oldest, some in each call.
-- ARGV: the last entry that was seen (empty: none), its index from the end, `group`, `label` or `name`,
-- how many to see, then ids to forget, which were seen in one of the last calls.
-- Returns how many were forgotten, the index and the text of the last entry seen now, then of each entry
-- its times and id, and the group, label or name behind `=`, or nothing.
local BYTES = 4194304
local most = tonumber(ARGV[4])

local function kind_of(value)
  if not is_result(value) then return '' end
  local name, group = struct.unpack('>I2I2', value, 34)
  local flags = math.floor(name / 4096)
  local at = 38 + name % 4096
  if ARGV[3] == 'name' then return '=' .. sub(value, 38, at - 1) end
  local after = group == 65535 and at or at + group
  if ARGV[3] == 'group' then
    if group == 65535 or flags >= 2 then return '' end
    return '=' .. sub(value, at, after - 1)
  end
  if flags % 2 == 0 then return '' end
  if #value < after + 1 then return '' end
  local length = struct.unpack('>I2', value, after)
  return '=' .. sub(value, after + 2, after + 1 + length)
end

local length = call('LLEN', S)
local at = length
if ARGV[1] ~= '' then
  at = length + ARGV[2]
  if at < 0 or call('LINDEX', S, at) ~= ARGV[1] then
    -- others have come meanwhile; if it is gone somebody else prunes, and what is left is for another time
    at = call('LPOS', S, ARGV[1], 'RANK', -1)
    if not at then return {0, 0, ''} end
  end
end

local count, gone = 0, {}
for i = 5, #ARGV do gone[ARGV[i]] = true end
if #ARGV >= 5 then
  for i, entry in ipairs(call('LRANGE', S, at, at + 3 * most - 1)) do
    if gone[sub(entry, 17, 32)] then
      forget_entry(entry)
      call('LSET', S, at + i - 1, '')
      count = count + 1
    end
  end
end
-- in one go, from the nearer end
if count > 0 then call('LREM', S, at * 2 > length and -count or count, '') end
length = length - count

local first = math.max(0, at - most)
local entries = at > 0 and call('LRANGE', S, first, at - 1) or {}
local found, bytes = {count, 0, ''}, 0
for i = #entries, 1, -1 do
  local entry = entries[i]
  local id = sub(entry, 17, 32)
  bytes = bytes + call('HSTRLEN', R, id)
  -- to see a part of a value the server copies the whole
  if bytes > BYTES and i < #entries then break end
  local value = call('HGET', R, id)
  found[2], found[3] = first + i - 1 - length, entry
  found[#found + 1] = sub(entry, 1, 32)
  found[#found + 1] = value and kind_of(value) or ''
end
return found
