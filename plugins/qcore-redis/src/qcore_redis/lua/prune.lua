-- ARGV: how many successes to keep (negative: all), how many to forget in this call at most, seconds
-- since the epoch. Returns how many were forgotten.
local keep, most, clock = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
-- workers finish at the same time and save one after the other: so far may the order be off
local SLACK = 1000

local count = forget_others(clock, most)
local far = keep < 0 and 0 or call('LLEN', S) - keep - SLACK
if far > 0 then
  -- these are old in whatever order
  local ids, n = {}, 0
  for _, entry in ipairs(call('LPOP', S, math.min(far, most))) do
    n = n + 1
    ids[n] = sub(entry, 17, 32)
    if #entry > 32 then call('ZREM', P .. 'g:' .. sub(entry, 34), ids[n]) end
  end
  call('HDEL', R, unpack(ids))
  return count + n
end
local head = call('LRANGE', S, 0, most + SLACK - 1)
local left = {}
for _, entry in ipairs(head) do
  if is_over(entry, clock) then
    forget_entry(entry)
    count = count + 1
  else
    left[#left + 1] = {(struct.unpack('>d', entry)), entry}
  end
end
local surplus = keep < 0 and 0 or call('LLEN', S) - (#head - #left) - keep
surplus = math.min(surplus, #left, most)
if surplus <= 0 and #left == #head then return count end
table.sort(left, function(a, b) return a[1] < b[1] end)
call('LTRIM', S, #head, -1)
for i = #left, 1, -1 do
  if i <= surplus then
    forget_entry(left[i][2])
    count = count + 1
  else
    call('LPUSH', S, left[i][2])
  end
end
return count
