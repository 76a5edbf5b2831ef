-- ARGV: name and sealed bytes that it must still have, then name, value and whether it may fire, or an empty name.
if not same(ARGV[1], ARGV[2]) then return 0 end
forget(ARGV[1])
if ARGV[3] ~= '' then keep(ARGV[3], ARGV[4], ARGV[5]) end
return 1
