-- ARGV: number of results, when they expire, then id and value of each.
save(3, tonumber(ARGV[1]), ARGV[2])
return 0
