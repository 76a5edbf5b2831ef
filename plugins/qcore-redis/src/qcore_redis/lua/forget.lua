-- ARGV: ids. Returns how many results there were.
local count = 0
for i = 1, #ARGV do
  local value = call('GET', P .. 'r:' .. ARGV[i])
  if value then
    count = count + 1
    forget_index(value)
    call('DEL', P .. 'r:' .. ARGV[i])
  end
end
return count
