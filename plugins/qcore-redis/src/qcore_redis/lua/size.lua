local ready, leased = call('LLEN', Q), 0
local calls = 0
while call('LINDEX', Q, calls) == char(4) do calls = calls + 1 end
ready = ready - calls
for _, stream in ipairs(call('ZRANGE', P .. 'qs', 0, -1)) do ready = ready + call('LLEN', P .. 'q:' .. stream) end
local leases = call('ZRANGE', L, 0, -1, 'WITHSCORES')
for i = 1, #leases, 2 do
  local count = call('LLEN', LEASE .. leases[i])
  if count > 0 then
    if count == 1 and not is_message(call('LINDEX', LEASE .. leases[i], 0)) then count = 0 end
    count = count - (tonumber(call('HGET', T, leases[i]) or 0) or 0)
    if tonumber(leases[i + 1]) > now then leased = leased + count else ready = ready + count end
  end
end
local due = call('ZCOUNT', D, '-inf', now)
return {ready + due, leased, call('ZCARD', D) - due, call('ZCARD', P .. 'xz')}
