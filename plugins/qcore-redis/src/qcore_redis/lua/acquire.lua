-- p:<key>  ZSET  holder -> end of its permit, po:<key>  ZSET  holder -> number in the order they came.
-- ARGV: key, holder, number of permits, milliseconds. Returns nil, or who came first if all are taken.
local permits, order = P .. 'p:' .. ARGV[1], P .. 'po:' .. ARGV[1]
local holder, lasts = ARGV[2], tonumber(ARGV[4])
for _, ended in ipairs(call('ZRANGEBYSCORE', permits, '-inf', now)) do
  call('ZREM', permits, ended)
  call('ZREM', order, ended)
end
if not call('ZSCORE', permits, holder) then
  if call('ZCARD', permits) >= tonumber(ARGV[3]) then return call('ZRANGE', order, 0, 0)[1] or '' end
  local last = call('ZREVRANGE', order, 0, 0, 'WITHSCORES')[2] or 0
  call('ZADD', order, last + 1, holder)
end
call('ZADD', permits, now + lasts, holder)
-- the key outlives the last of its holders, and not by much
for _, key in ipairs({permits, order}) do
  if raw('PTTL', key) < lasts then raw('PEXPIRE', key, lasts) end
end
return false
