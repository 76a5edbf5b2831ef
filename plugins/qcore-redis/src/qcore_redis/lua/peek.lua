-- Returns the body of the message that was enqueued first of those in front, nothing if there is none.
local _, oldest, body = front(Q)
for _, stream in ipairs(call('ZRANGE', P .. 'qs', 0, -1)) do
  local _, id, found = front(P .. 'q:' .. stream)
  if id and (not oldest or id < oldest) then oldest, body = id, found end
end
return body or false
