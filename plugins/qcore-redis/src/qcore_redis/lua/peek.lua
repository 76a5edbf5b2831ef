-- Returns the body of the message that is leased next, nothing if there is none.
local first = call('LINDEX', Q, 0)
if not is_message(first) then first = call('LINDEX', Q, 1) end
if not is_message(first) then return false end
local flags, _, _, _, rest = read(first)
if flags >= 2 then return call('GET', P .. 'b:' .. rest) end
return rest
