-- ARGV: id, waiter, milliseconds. Returns what is stored; unless that is terminal, the waiter is noted.
local value = call('HGET', R, ARGV[1])
if value and is_result(value) and byte(value) >= FAILED then return value end
local key = P .. 'w:' .. ARGV[1]
call('SADD', key, ARGV[2])
call('SETNX', P .. 'w', '1')
for _, noted in ipairs({key, P .. 'w'}) do
  if raw('PTTL', noted) < tonumber(ARGV[3]) then raw('PEXPIRE', noted, ARGV[3]) end
end
return value
