-- ARGV: ids. Returns how many results there were.
local count = 0
for i = 1, #ARGV do
  local value = call('HGET', R, ARGV[i])
  if value then
    local ends = is_result(value) and struct.unpack('>d', value, 10) or 0
    if ends == 0 or ends * 1000 > now then count = count + 1 end
    forget_index(value)
    call('HDEL', R, ARGV[i])
  end
end
return count
