-- ARGV: `requeue` or `delete`, then ids of dead letters. Returns how many there were.
local count = 0
for i = 2, #ARGV do
  local letter = call('HGET', P .. 'x', ARGV[i])
  if call('ZREM', P .. 'xz', ARGV[i]) == 1 and not letter then count = count + 1 end
  if letter then
    count = count + 1
    call('HDEL', P .. 'x', ARGV[i])
    local item = ''
    if #letter > 20 then
      local _, _, _, length = struct.unpack('>dI4I4I4', letter)
      item = sub(letter, 21 + length)
    end
    -- one that is no dead letter of ours is a body, and whoever leases it judges
    if item == '' then item = char(0) .. letter end
    if ARGV[1] == 'requeue' then
      add('RPUSH', item)
    else
      local _, inner = part(item)
      if byte(inner) == 2 then raw('UNLINK', P .. 'b:' .. sub(inner, 2)) end
    end
  end
end
return count
