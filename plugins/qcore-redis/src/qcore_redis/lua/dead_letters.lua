-- ARGV: the id to begin behind, how many at most. Returns ids and dead letters, alternating.
local found = {}
local seen = call('ZRANGEBYSCORE', P .. 'xz', '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
for i = 1, #seen, 2 do
  local id = seen[i]
  local letter = call('HGET', P .. 'x', id)
  if letter and id == seen[i + 1] and string.find(id, '^%d+$') then
    found[#found + 1] = id
    found[#found + 1] = letter
  else
    -- under no name of ours it could be neither requeued nor removed
    call('ZREM', P .. 'xz', id)
    call('HDEL', P .. 'x', id)
    if letter then dead_letter(0, letter, 0, 0, 'not from qcore: a dead letter under the name ' .. id) end
  end
end
return found
