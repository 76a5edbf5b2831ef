-- v:<key>  when the latest slot is or was, vh:<key>  ZSET  holder -> its slot, while it is to come;
-- microseconds of this server's clock.
-- ARGV: key, holder, microseconds between slots, how many may come at once. Returns the microseconds left.
local DAY = 86400000000
local clock = time[1] * 1000000 + time[2]
local latest, slots, holder = P .. 'v:' .. ARGV[1], P .. 'vh:' .. ARGV[1], ARGV[2]
local interval, burst = tonumber(ARGV[3]), tonumber(ARGV[4])

call('ZREMRANGEBYSCORE', slots, '-inf', clock - DAY)
local known = call('ZSCORE', slots, holder)
-- nobody has to wait for thirty years
if known and math.abs(known - clock) >= 1e15 then
  call('ZREM', slots, holder)
  known = nil
end
if known then
  local left = math.ceil(known - clock)
  if left > 0 then return left end
  call('ZREM', slots, holder)
  return 0
end
-- with the whole burst unused, its slots lie in the past but for the last one
local at = clock - (burst - 1) * interval
local last = tonumber(call('GET', latest) or '')
if last and math.abs(last - clock) < 1e15 then at = math.max(at, last + interval) end
call('SET', latest, at, 'PX', math.max(1, math.ceil((at + burst * interval - clock) / 1000)))
if at <= clock then return 0 end
call('ZADD', slots, at, holder)
local lasts = math.ceil((at - clock + DAY) / 1000)
if raw('PTTL', slots) < lasts then raw('PEXPIRE', slots, lasts) end
return math.ceil(at - clock)
