-- Keeps schedules: c HASH name -> its slot (8 bytes), whether it may fire (1) and its sealed bytes, cz ZSET of those that may fire, by slot,
-- ch HASH name -> until when it is claimed.
local C, SLOTS, HELD = P .. 'c', P .. 'cz', P .. 'ch'

local function same(name, body)
  local value = call('HGET', C, name)
  return value and sub(value, 10) == body
end

local function forget(name)
  call('ZREM', SLOTS, name)
  call('HDEL', HELD, name)
  return call('HDEL', C, name)
end

local function keep(name, value, fires)
  forget(name)
  call('HSET', C, name, value)
  if fires == '1' then call('ZADD', SLOTS, (struct.unpack('>d', value)), name) end
end
