-- ARGV: token, then indexes in its lease where nothing is, though nothing is settled. A message without body
-- is there from now on, so that it can be settled.
for i = 2, #ARGV do
  if call('LINDEX', LEASE .. ARGV[1], ARGV[i]) == '' then call('LSET', LEASE .. ARGV[1], ARGV[i], char(0)) end
end
return 0
