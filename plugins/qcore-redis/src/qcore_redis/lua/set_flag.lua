-- m:<key> is a flag. ARGV: key, value, milliseconds; an empty value removes it.
if ARGV[2] == '' then
  raw('DEL', P .. 'm:' .. ARGV[1])
else
  call('SET', P .. 'm:' .. ARGV[1], ARGV[2], 'PX', ARGV[3])
end
return 0
