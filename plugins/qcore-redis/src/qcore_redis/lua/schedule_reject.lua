-- ARGV: name and value of one that nobody can read. It is a dead letter from now on.
if call('HGET', C, ARGV[1]) ~= ARGV[2] then return 0 end
forget(ARGV[1])
dead_letter(0, ARGV[2], 0, 0, 'not from qcore: the schedule ' .. ARGV[1] .. ' cannot be read')
return 1
