-- ARGV: seconds since the epoch. Returns how many are retrying, failed and successes.
local clock = tonumber(ARGV[1])
local counts = {call('ZCARD', P .. 'y'), call('ZCARD', P .. 'f'), call('LLEN', P .. 's')}
for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'e', '-inf', ARGV[1])) do
  local state = call('ZSCORE', P .. 'f', id) and 2 or 1
  counts[state] = counts[state] - 1
end
-- the first to expire come first, unless they were given different times
local at = 0
while at >= 0 do
  local chunk = call('LRANGE', P .. 's', at, at + 999)
  for _, entry in ipairs(chunk) do
    if #entry >= 32 then
      local ends = struct.unpack('>d', entry, 9)
      if ends == 0 or ends > clock then return counts end
    end
    counts[3] = counts[3] - 1
  end
  at = #chunk == 1000 and at + 1000 or -1
end
return counts
