-- ARGV: what the tokens of a dead process begin with.
local count = 0
for _, token in ipairs(call('ZRANGE', L, 0, -1)) do
  if sub(token, 1, #ARGV[1]) == ARGV[1] then
    count = count + release_lease(token, nil)
    call('ZREM', L, token)
  end
end
return count
