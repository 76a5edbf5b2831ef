local ready, leased = call('LLEN', Q), 0
local first = call('LINDEX', Q, 0)
if first and not is_message(first) then ready = ready - 1 end
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
