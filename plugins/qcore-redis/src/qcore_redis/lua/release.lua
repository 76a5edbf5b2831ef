-- ARGV: key and holder of each permit that is released.
for i = 1, #ARGV, 2 do
  call('ZREM', P .. 'p:' .. ARGV[i], ARGV[i + 1])
  call('ZREM', P .. 'po:' .. ARGV[i], ARGV[i + 1])
end
return 0
