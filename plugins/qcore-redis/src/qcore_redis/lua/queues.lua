-- Returns of each queue its name, how many of its messages are ready and leased, whether it is paused, and the
-- body of the one that was enqueued first of those in front.
local names, queues = {}, {}

local function of(name)
  if not queues[name] then
    names[#names + 1] = name
    queues[name] = {ready = 0, leased = 0, paused = 0}
  end
  return queues[name]
end

local function look(name, key)
  local queue, calls, id, body = of(name), front(key)
  queue.ready = queue.ready + call('LLEN', key) - calls
  if id and (not queue.id or id < queue.id) then queue.id, queue.body = id, body end
end

look('', Q)
for _, stream in ipairs(call('ZRANGE', P .. 'qs', 0, -1)) do
  local name = string.match(stream, '^%-?%d+:([%w_.-]*)$')
  if name then look(name, P .. 'q:' .. stream) end
end
local leases = call('ZRANGE', L, 0, -1, 'WITHSCORES')
for i = 1, #leases, 2 do
  local state = tonumber(leases[i + 1]) > now and 'leased' or 'ready'
  for _, item in ipairs(call('LRANGE', LEASE .. leases[i], 0, -1)) do
    if is_message(item) then
      local queue = of(sub(part(item), 4))
      queue[state] = queue[state] + 1
    end
  end
end
for _, name in ipairs(call('HKEYS', P .. 'qp')) do
  if not string.find(name, '[^%w_.-]') then of(name).paused = 1 end
end
local found = {}
for _, name in ipairs(names) do
  local queue = queues[name]
  for _, value in ipairs({name, queue.ready, queue.leased, queue.paused, queue.body or false}) do
    found[#found + 1] = value
  end
end
return found
