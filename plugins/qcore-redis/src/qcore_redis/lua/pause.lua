-- ARGV: queue, whether it is paused.
local waiting = call('ZCARD', L) + 1
if ARGV[2] == '1' then
  call('HSET', P .. 'qp', ARGV[1], 1)
  -- who waits for the default queue gets none of its messages, but a call in front of them
  if ARGV[1] == '' then for _ = 1, waiting do call('LPUSH', Q, char(4)) end end
  return 0
end
call('HDEL', P .. 'qp', ARGV[1])
if ARGV[1] == '' then
  while call('LINDEX', Q, 0) == char(4) do call('LPOP', Q) end
  for _ = 1, waiting do call('RPUSH', P .. 'qw', char(4)) end
end
alert()
return 0
