-- ARGV: name, value, whether it may fire.
if call('HEXISTS', C, ARGV[1]) == 1 then return 0 end
keep(ARGV[1], ARGV[2], ARGV[3])
return 1
