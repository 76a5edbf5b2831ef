-- ARGV: seconds since the epoch, how many at most, until when they are claimed.
local found, limit = {}, tonumber(ARGV[2])
for _, name in ipairs(call('ZRANGEBYSCORE', SLOTS, '-inf', ARGV[1])) do
  if #found >= limit * 2 then break end
  local value = call('HGET', C, name)
  if not value then
    forget(name)
  elseif (tonumber(call('HGET', HELD, name) or 0) or 0) <= tonumber(ARGV[1]) then
    call('HSET', HELD, name, ARGV[3])
    found[#found + 1] = name
    found[#found + 1] = value
  end
end
return found
