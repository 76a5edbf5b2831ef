-- From which of many queues is taken. Behind `leases`, in front of `exchange`.

-- Queues in the order of this lease, commas between them, = is the default one; * = all, by priority.
order = ARGV[10]
local S, WAITING = P .. 'qs', P .. 'qw'
-- whether nothing is taken from the default queue, and so nobody may wait there
local apart = false

-- Take from as many streams as there is room for.
take = function(limit, token, lasts)
  local items, paused, leases, workers = {}, {}, call('ZCARD', L), nil
  for _, queue in ipairs(call('HKEYS', P .. 'qp')) do paused[queue] = true end
  apart = paused[''] or false

  -- Take from a list, no more than a fair share; true if another may follow: there is room, and nothing is left.
  local function from(key)
    local length = call('LLEN', key)
    if length == 0 then return true end
    local count = limit - #items
    if count > 1 and length < limit * (leases + 1) then
      -- as `take` of the default queue does
      workers = workers or others(token) + 1
      count = math.min(count, math.ceil(length / workers))
    end
    for _, item in ipairs(raw('LPOP', key, count)) do
      if item ~= '\4' then items[#items + 1] = item end
    end
    return #items < limit and count == length
  end

  -- Take from a stream, which is of this queue, if one is named.
  local function from_stream(stream, named)
    local queue = string.match(stream, '^%-?%d+:([%w_.-]*)$')
    if not queue or (named and queue ~= named) then
      -- not put there by us
      if not queue then forget_stream(stream) end
      call('ZREM', P .. 'qs:' .. (named or ''), stream)
      return true
    end
    if paused[queue] then return true end
    local more = from(P .. 'q:' .. stream)
    if raw('EXISTS', P .. 'q:' .. stream) == 0 then forget_stream(stream) end
    return more
  end

  -- Take from the default queue at its priority.
  local function from_default()
    if paused[''] then return true end
    while call('LINDEX', Q, 0) == '\4' do raw('LPOP', Q) end
    return from(Q)
  end

  -- Take from the streams of one priority and from the default queue, if it is of it, each first at times.
  local function from_level(score)
    local count = call('ZCOUNT', S, score, score)
    local default = tonumber(score) == 0 and 1 or 0
    local turn = tonumber(time[2]) % (count + default)
    local found = call('ZRANGEBYSCORE', S, score, score, 'LIMIT', turn, 100)
    if default == 1 then found[#found + 1] = '' end
    local rest = math.min(turn, 100 - #found)
    if rest > 0 then
      for _, stream in ipairs(call('ZRANGEBYSCORE', S, score, score, 'LIMIT', 0, rest)) do found[#found + 1] = stream end
    end
    for _, stream in ipairs(found) do
      local more
      if stream == '' then more = from_default() else more = from_stream(stream) end
      if not more then return false end
    end
    return true
  end

  local function from_all()
    local above = '-inf'
    local default = false
    while true do
      local first = call('ZRANGEBYSCORE', S, above, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
      -- as a text, so that nothing of it is lost
      local score = first[2]
      if not default and (not score or tonumber(score) >= 0) then
        default, score = true, '0'
      elseif not score then
        return
      end
      if not from_level(score) then return end
      above = '(' .. score
    end
  end

  local function from_queue(queue)
    if paused[queue] then return true end
    local default = queue ~= ''
    local streams = call('ZRANGE', P .. 'qs:' .. queue, 0, -1, 'WITHSCORES')
    for i = 1, #streams, 2 do
      if not default and tonumber(streams[i + 1]) > 0 then
        default = true
        if not from_default() then return false end
      end
      if not from_stream(streams[i], queue) then return false end
    end
    return default or from_default()
  end

  if order == '*' then
    from_all()
  else
    apart = true
    for name in string.gmatch(order, '[^,]+') do
      if name == '=' then name, apart = '', paused[''] or false end
      if #items < limit and not from_queue(name) then break end
    end
  end
  if #items == 0 then return nil end
  for i = 1, #items, 1000 do call('RPUSH', LEASE .. token, unpack(items, i, math.min(i + 999, #items))) end
  raw('ZADD', L, now + lasts, token)
  -- another one may take what is left
  if raw('EXISTS', S) == 1 then alert() end
  return items
end

-- A call that was not for this one may be for the next that waits. Returns how long to wait, and where.
hand_on = function(wait)
  if raw('EXISTS', S) == 1 and call('INCRBY', P .. 'qh', -1) >= 0 then
    if call('LLEN', Q) == 0 then call('RPUSH', Q, '\4') end
    if call('LLEN', WAITING) == 0 then call('RPUSH', WAITING, '\4') end
  end
  raw('PEXPIRE', P .. 'qh', 60000)
  raw('PEXPIRE', WAITING, 60000)
  if not apart then return wait end
  -- what is of another kind there is set aside
  call('LLEN', WAITING)
  return string.format('%.0f', wait)
end
