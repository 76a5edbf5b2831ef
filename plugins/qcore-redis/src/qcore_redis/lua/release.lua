-- ARGV: key and holder of each place that is given up.
for i = 1, #ARGV, 2 do
  call('ZREM', P .. 'p:' .. ARGV[i], ARGV[i + 1])
  call('ZREM', P .. 'po:' .. ARGV[i], ARGV[i + 1])
end
return 0
