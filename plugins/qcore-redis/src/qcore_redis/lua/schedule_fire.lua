-- ARGV: as for schedule_advance, always five, then messages, see `put`.
if not same(ARGV[1], ARGV[2]) then return 0 end
forget(ARGV[1])
if ARGV[3] ~= '' then keep(ARGV[3], ARGV[4], ARGV[5]) end
put(6, #ARGV)
return 1
