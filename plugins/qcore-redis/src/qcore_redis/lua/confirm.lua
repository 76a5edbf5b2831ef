-- ARGV: token, milliseconds. A lease that began while its worker waited lasts from now.
if raw('EXISTS', LEASE .. ARGV[1]) == 1 then call('ZADD', L, now + ARGV[2], ARGV[1]) end
return 0
