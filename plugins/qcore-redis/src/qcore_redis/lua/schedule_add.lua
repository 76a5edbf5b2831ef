-- ARGV: name, value, whether it may fire.
keep(ARGV[1], ARGV[2], ARGV[3])
return 0
