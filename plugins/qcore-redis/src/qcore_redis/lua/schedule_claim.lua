-- ARGV: seconds since the epoch, how many at most, until when they are claimed.
local found, limit = {}, tonumber(ARGV[2])
for _, name in ipairs(call('ZRANGEBYSCORE', SLOTS, '-inf', ARGV[1])) do
  if #found >= limit then break end
  if tonumber(call('HGET', HELD, name) or 0) <= tonumber(ARGV[1]) then
    call('HSET', HELD, name, ARGV[3])
    found[#found + 1] = call('HGET', C, name)
  end
end
return found
