-- Accept messages. ARGV from one index to another, for each its delay in milliseconds, behind its route if it
-- has one, the id of its body if that lies apart, and its body, empty where it is stored already.
local function put(from, to)
  local soonest = math.huge
  for i = from, to, 3 do
    local delay, id, body = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2]
    local item
    if id == '' then
      item = char(0) .. body
    else
      if body ~= '' then call('SET', P .. 'b:' .. id, body) end
      item = char(2) .. id
    end
    local route
    if not delay then
      route, delay = part(ARGV[i])
      item, delay = route .. item, tonumber(delay)
    end
    if delay > 0 then
      put_later(item, now + delay)
      if route then
        alert()
      else
        soonest = math.min(soonest, now + delay)
      end
    elseif route then
      add('RPUSH', item)
    else
      call('RPUSH', Q, item)
    end
  end
  if soonest < math.huge then wake_later(soonest) end
end
