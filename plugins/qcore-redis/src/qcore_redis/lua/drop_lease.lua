-- ARGV: token of a lease that holds nothing for anybody and is not waited with.
release_lease(ARGV[1], nil)
call('ZREM', L, ARGV[1])
return 0
