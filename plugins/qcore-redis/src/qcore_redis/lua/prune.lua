-- ARGV: how many successes to keep (negative: all), how many to forget in this call at most, seconds
-- since the epoch. Returns how many were forgotten.
local keep, most, clock = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local key = P .. 's'
-- workers finish at the same time and save one after the other: so far may the order be off
local SLACK = 1000

local function expired(entry)
  local ends = struct.unpack('>d', entry, 9)
  return ends > 0 and ends <= clock
end

local function forget(entry)
  local id = sub(entry, 17, 32)
  call('UNLINK', P .. 'r:' .. id)
  if #entry > 32 then call('ZREM', P .. 'g:' .. sub(entry, 34), id) end
end

local count = 0
for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'e', '-inf', ARGV[3], 'LIMIT', 0, most)) do
  count = count + 1
  call('ZREM', P .. 'f', id)
  call('ZREM', P .. 'y', id)
  call('ZREM', P .. 'e', id)
end

local head = call('LRANGE', key, 0, most + SLACK - 1)
local left = {}
for _, entry in ipairs(head) do
  if expired(entry) then
    forget(entry)
    count = count + 1
  else
    left[#left + 1] = {struct.unpack('>d', entry), entry}
  end
end
local surplus = keep < 0 and 0 or call('LLEN', key) - (#head - #left) - keep
surplus = math.min(surplus, #left, most)
if surplus <= 0 and #left == #head then return count end
table.sort(left, function(a, b) return a[1] < b[1] end)
call('LTRIM', key, #head, -1)
for i = #left, 1, -1 do
  local entry = left[i][#left[i]]
  if i <= surplus then
    forget(entry)
    count = count + 1
  else
    call('LPUSH', key, entry)
  end
end
return count
