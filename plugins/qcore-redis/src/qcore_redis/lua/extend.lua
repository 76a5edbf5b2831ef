-- ARGV: milliseconds, then tokens. Leases that are still held last from now.
for i = 2, #ARGV do
  if raw('EXISTS', LEASE .. ARGV[i]) == 1 then call('ZADD', L, 'XX', now + ARGV[1], ARGV[i]) end
end
return 0
