-- What ends by itself, what is taken, what is settled.

local HOUR = 3600000
-- from which queues is taken, see `streams`; nil = from the default one, at its priority
local order, hand_on

local function forget_stream(stream)
  indexed = {}
  call('ZREM', P .. 'qs', stream)
  call('ZREM', P .. 'qs:' .. string.match(stream, '[^:]*$'), stream)
end

local function sweep()
  local due = call('ZRANGEBYSCORE', D, '-inf', now, 'LIMIT', 0, 500)
  if #due > 0 then
    call('ZREM', D, unpack(due))
    for i, member in ipairs(due) do due[i] = sub(member, 9) end
    to_head(due)
  end
  local ended = call('ZRANGEBYSCORE', L, '-inf', now, 'WITHSCORES', 'LIMIT', 0, 50)
  for i = 1, #ended, 2 do
    local token = ended[i]
    if raw('EXISTS', LEASE .. token) == 1 then
      release_lease(token, tonumber(ended[i + 1]))
      call('ZREM', L, token)
    elseif call('HEXISTS', T, token) == 1 then
      call('ZREM', L, token)
      call('HDEL', T, token)
    else
      -- One that waited and got nothing. Its server-side wait is over, unless all stood still:
      -- remember it for longer than anything stands still, so that nothing it gets is lost.
      call('HSET', T, token, 0)
      call('ZADD', L, now + HOUR, token)
    end
  end
end

-- How many others hold leases or wait with one. A worker that runs many tasks at once holds many: they are
-- told apart by owner, which a token begins with, unless there are so many that it takes long.
local function others(token)
  local count = call('ZCARD', L)
  if count < 2 or count > 128 then return count end
  local function owner(of) return sub(of, 1, (byte(of) or 0) + 1) end
  local seen, found = {[owner(token)] = true}, 0
  for _, one in ipairs(call('ZRANGE', L, 0, -1)) do
    local name = owner(one)
    if not seen[name] then
      seen[name], found = true, found + 1
    end
  end
  return found
end

local function take(limit, token, lasts)
  local length = call('LLEN', Q)
  if length == 0 then return nil end
  -- no more than a fair share; who holds leases is looked at only where there may be too little for all
  if limit > 1 and length < limit * (call('ZCARD', L) + 1) then
    limit = math.min(limit, math.ceil(length / (others(token) + 1)))
  end
  local items = raw('LPOP', Q, limit)
  local added = try('RPUSH', LEASE .. token, unpack(items))
  if type(added) == 'table' then repaired(added.err, 'RPUSH', LEASE .. token, unpack(items)) end
  raw('ZADD', L, now + lasts, token)
  return items
end

local function next_event()
  local first = math.huge
  for _, key in ipairs({D, L}) do
    local found = call('ZRANGE', key, 0, 0, 'WITHSCORES')
    if found[2] then first = math.min(first, tonumber(found[2])) end
  end
  return math.max(0, first - now)
end

-- Take one item out of a lease that is settled piece by piece; nil if that was done before.
local function take_out(key, index)
  local item = call('LINDEX', key, index)
  if not item or item == '' then return nil end
  call('LSET', key, index, '')
  return item
end

local function apply(item, action, delay, failures, crashes, reason, heads)
  local route, inner = part(item)
  local flags, deliveries, f, c, rest = read(inner)
  if action == '4' then return dead_letter(flags, rest, failures, crashes, reason, route) end
  if action == '2' then
    item = route .. item_of(flags, deliveries + 1, failures, crashes, 0, rest)
  end
  if delay > 0 then
    put_later(item, now + delay)
    wake_later(now + delay, route)
  else
    heads[#heads + 1] = item
  end
end

-- Remove the bodies of items that are gone, where they lie apart.
local function drop_bodies(items)
  local keys = {}
  for _, item in ipairs(items) do
    local first = byte(item)
    if first ~= 0 and first then
      local _, inner = part(item)
      local flags = byte(inner)
      if flags == 2 or flags == 3 then
        local _, _, _, _, id = read(inner)
        keys[#keys + 1] = P .. 'b:' .. id
      end
    end
  end
  for i = 1, #keys, 1000 do raw('UNLINK', unpack(keys, i, math.min(i + 999, #keys))) end
end

-- ARGV from `at`: token, indexes to acknowledge (two bytes each), whether their bodies may be elsewhere,
-- number of other settlements, then six for each. Returns the position behind.
local function settle(at, heads)
  local token, acks, careful, others = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local after = at + 4 + others * 6
  local key = LEASE .. token
  local length = call('LLEN', key)
  if length == 0 then return after end
  if others == 0 and #acks == length * 2 then
    -- all at once; an item that was settled before is an empty text
    if careful ~= '0' then drop_bodies(call('LRANGE', key, 0, -1)) end
    raw('DEL', key)
    call('ZREM', L, token)
    call('HDEL', T, token)
    return after
  end
  local settled, gone = 0, {}
  for i = 1, #acks, 2 do
    local item = take_out(key, byte(acks, i) * 256 + byte(acks, i + 1))
    if item then
      settled = settled + 1
      gone[settled] = item
    end
  end
  drop_bodies(gone)
  for i = at + 4, after - 1, 6 do
    local item = take_out(key, ARGV[i])
    if item then
      settled = settled + 1
      if is_message(item) then
        apply(item, ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), ARGV[i + 5], heads)
      end
    end
  end
  if settled > 0 and call('HINCRBY', T, token, settled) >= length then
    raw('DEL', key)
    call('ZREM', L, token)
    call('HDEL', T, token)
  end
  return after
end
