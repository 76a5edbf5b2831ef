-- ARGV: name, value that it must still have, new value. When it fires, and who claimed it, stays.
if call('HGET', C, ARGV[1]) ~= ARGV[2] then return 0 end
call('HSET', C, ARGV[1], ARGV[3])
return 1
