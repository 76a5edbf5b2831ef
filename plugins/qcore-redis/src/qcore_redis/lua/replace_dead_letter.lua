-- ARGV: id, new body. Returns whether there was such a dead letter.
local stored = call('HGET', P .. 'x', ARGV[1])
if not stored or #stored <= 20 then return 0 end
local at = 21 + struct.unpack('>I4', stored, 17)
at = at + #part(sub(stored, at))
local flags = byte(stored, at)
if not flags then return 0 end
if flags >= 2 then
  call('SET', P .. 'b:' .. sub(stored, at + 1), ARGV[2])
else
  call('HSET', P .. 'x', ARGV[1], sub(stored, 1, at) .. ARGV[2])
end
return 1
