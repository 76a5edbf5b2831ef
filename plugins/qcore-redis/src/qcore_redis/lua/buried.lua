-- ARGV: the id to begin behind, how many at most. Returns ids and letters in turn.
local found = {}
for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'xz', '(' .. ARGV[1], '+inf', 'LIMIT', 0, ARGV[2])) do
  found[#found + 1] = id
  found[#found + 1] = call('HGET', P .. 'x', id)
end
return found
