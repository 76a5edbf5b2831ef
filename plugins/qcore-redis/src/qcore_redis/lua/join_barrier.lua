-- z:<key>  HASH  index of a member -> what it brought.
-- ARGV: milliseconds, then key, index and body of each arrival. Returns how many are there after each.
local counts = {}
for i = 2, #ARGV, 3 do
  local key = P .. 'z:' .. ARGV[i]
  call('HSETNX', key, ARGV[i + 1], ARGV[i + 2])
  raw('PEXPIRE', key, ARGV[1])
  counts[#counts + 1] = call('HLEN', key)
end
return counts
