-- ARGV: `requeue` or `delete`, then ids of dead letters. Returns how many there were.
local count = 0
for i = 2, #ARGV do
  local letter = call('HGET', P .. 'x', ARGV[i])
  if letter then
    count = count + 1
    call('HDEL', P .. 'x', ARGV[i])
    call('ZREM', P .. 'xz', ARGV[i])
    local _, _, _, length = struct.unpack('>dI4I4I4', letter)
    local item = sub(letter, 21 + length)
    if ARGV[1] == 'requeue' then
      call('RPUSH', Q, item)
    elseif byte(item) == 2 then
      call('UNLINK', P .. 'b:' .. sub(item, 2))
    end
  end
end
return count
