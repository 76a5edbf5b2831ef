-- ARGV: a key, and what kind it should be of. It is set aside if it is of another.
local kind = raw('TYPE', ARGV[1]).ok
if kind == ARGV[2] or kind == 'none' then return 0 end
set_aside(ARGV[1], 'held something of another kind')
return 1
