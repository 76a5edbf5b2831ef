-- Keeps results: each under its own key, success ids in the order they came, the rest by time.
--
-- r:<id>  state, finished, expires, id, lengths of name and group, name, group, sealed body
-- s  LIST  finished, expires, id (and group) of the successes
-- f, y  ZSET  ids of the failed and of those that are tried again, by the time they finished
-- e  ZSET  ids of these by the time they expire
-- g:<group>  ZSET  ids by the time they finished
-- w  set while somebody waits for a result; w:<id> SET of those who do; a:<waiter> LIST that wakes one
local NEVER = '0'
local SUCCESS, FAILED = 51, 50

local function group_of(value)
  local name, group = struct.unpack('>I2I2', value, 34)
  if group == 65535 then return nil end
  return sub(value, 38 + name, 37 + name + group)
end

local function entry_of(value)
  local group = group_of(value)
  if group then return sub(value, 2, 33) .. ':' .. group end
  return sub(value, 2, 33)
end

local function forget_index(value)
  local id, group = sub(value, 18, 33), group_of(value)
  if byte(value) == SUCCESS then
    call('LREM', P .. 's', -1, entry_of(value))
  else
    call('ZREM', P .. 'f', id)
    call('ZREM', P .. 'y', id)
    call('ZREM', P .. 'e', id)
  end
  if group then call('ZREM', P .. 'g:' .. group, id) end
end

local function keep_group(group, finished, id, expires)
  local key = P .. 'g:' .. group
  local new = call('EXISTS', key) == 0
  call('ZADD', key, finished, id)
  if expires == NEVER then
    call('PERSIST', key)
  else
    local left = call('PTTL', key)
    if new or (left >= 0 and now + left < tonumber(expires)) then call('PEXPIREAT', key, expires) end
  end
end

local function wake(id)
  local waiting = call('SMEMBERS', P .. 'w:' .. id)
  if #waiting == 0 then return end
  call('DEL', P .. 'w:' .. id)
  for _, waiter in ipairs(waiting) do
    call('RPUSH', P .. 'a:' .. waiter, '1')
    call('PEXPIRE', P .. 'a:' .. waiter, 10000)
  end
end

local function keep_index(value, id, expires, successes)
  local state = byte(value)
  local group = byte(value, 36) ~= 255 and group_of(value) or nil
  if state == SUCCESS then
    successes[#successes + 1] = group and entry_of(value) or sub(value, 2, 33)
  else
    local finished, ends = struct.unpack('>dd', value, 2)
    call('ZADD', P .. (state == FAILED and 'f' or 'y'), finished, id)
    if ends > 0 then call('ZADD', P .. 'e', ends, id) end
  end
  if group then keep_group(group, (struct.unpack('>d', value, 2)), id, expires) end
end

-- ARGV from `first`: id and value of each of `count` results, which all expire at `expires`.
local function save(first, count, expires)
  local waited = call('EXISTS', P .. 'w') == 1
  local successes = {}
  for i = first, first + count * 2 - 1, 2 do
    local id, value = ARGV[i], ARGV[i + 1]
    local key = P .. 'r:' .. id
    local kept
    if expires == NEVER then
      kept = call('SET', key, value, 'NX')
    else
      kept = call('SET', key, value, 'NX', 'PXAT', expires)
    end
    if not kept then
      local old = call('GET', key)
      if byte(old) < SUCCESS and byte(value) >= byte(old) then
        forget_index(old)
        call('SET', key, value)
        if expires ~= NEVER then call('PEXPIREAT', key, expires) end
        kept = true
      end
    end
    if kept then
      keep_index(value, id, expires, successes)
      if waited and byte(value) >= FAILED then wake(id) end
    end
  end
  for i = 1, #successes, 1000 do
    call('RPUSH', P .. 's', unpack(successes, i, math.min(i + 999, #successes)))
  end
end
