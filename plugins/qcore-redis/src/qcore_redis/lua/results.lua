-- Keeps results: each under its own key, success ids in the order they came, the rest by time.
--
-- r  HASH  id -> state, finished, expires, id, lengths of name and group, name, group, sealed body; the
--          length of the name has 12 bits, above them 1 = length and text of a label stand before the
--          body, 2 = it has left its group
-- s  LIST  finished, expires, id (and group) of the successes
-- f, y  ZSET  ids of the failed and of those that are tried again, by the time they finished
-- e  ZSET  ids of these by the time they expire
-- g:<group>  ZSET  ids by the time they finished
-- w  set while somebody waits for a result; w:<id> SET of those who do; a:<waiter> LIST that wakes one
local R, S = P .. 'r', P .. 's'
local SUCCESS, FAILED = 51, 50

-- Whether it was written by us, as far as one can see.
local function is_result(value)
  if #value < 37 or byte(value) < 49 or byte(value) > SUCCESS then return false end
  local name, group = struct.unpack('>I2I2', value, 34)
  return #value >= 37 + name % 4096 + (group == 65535 and 0 or group)
end

-- The group it came with, which its entry names.
local function group_of(value)
  local name, group = struct.unpack('>I2I2', value, 34)
  if group == 65535 then return nil end
  name = name % 4096
  return sub(value, 38 + name, 37 + name + group)
end

local function entry_of(value)
  local group = group_of(value)
  if group then return sub(value, 2, 33) .. ':' .. group end
  return sub(value, 2, 33)
end

local function forget_index(value)
  if not is_result(value) then return end
  local id, group = sub(value, 18, 33), group_of(value)
  if byte(value) == SUCCESS then
    call('LREM', S, -1, entry_of(value))
  else
    call('ZREM', P .. 'f', id)
    call('ZREM', P .. 'y', id)
    call('ZREM', P .. 'e', id)
  end
  if group then call('ZREM', P .. 'g:' .. group, id) end
end

local function keep_group(group, finished, ends, id)
  local key = P .. 'g:' .. group
  local new = raw('EXISTS', key) == 0
  call('ZADD', key, finished, id)
  if ends == 0 then
    raw('PERSIST', key)
  else
    local left = raw('PTTL', key)
    ends = math.ceil(ends * 1000)
    if new or (left >= 0 and now + left < ends) then raw('PEXPIREAT', key, ends) end
  end
end

local function wake(id)
  local waiting = call('SMEMBERS', P .. 'w:' .. id)
  if #waiting == 0 then return end
  raw('DEL', P .. 'w:' .. id)
  for _, waiter in ipairs(waiting) do
    call('RPUSH', P .. 'a:' .. waiter, '1')
    raw('PEXPIRE', P .. 'a:' .. waiter, 10000)
  end
end

local function keep_index(value, successes)
  local success, grouped = byte(value) == SUCCESS, byte(value, 36) ~= 255
  if success and not grouped then
    successes[#successes + 1] = sub(value, 2, 33)
    return
  end
  local id = sub(value, 18, 33)
  local finished, ends = struct.unpack('>dd', value, 2)
  if success then
    successes[#successes + 1] = entry_of(value)
  else
    call('ZADD', P .. (byte(value) == FAILED and 'f' or 'y'), finished, id)
    if ends > 0 then call('ZADD', P .. 'e', ends, id) end
  end
  if grouped then keep_group(group_of(value), finished, ends, id) end
end

-- Whether a result may take the place of the one that is stored; its index goes then.
local function gives_way(old, value)
  if not is_result(old) then return true end
  local ends = struct.unpack('>d', old, 10)
  if (ends > 0 and ends * 1000 <= now) or (byte(old) < SUCCESS and byte(value) >= byte(old)) then
    forget_index(old)
    return true
  end
end

-- Whether any of these results is stored.
local function is_known(first, last)
  local ids, n = {}, 0
  for i = first, last, 2 do
    n = n + 1
    ids[n] = ARGV[i]
  end
  local old = try('HMGET', R, unpack(ids))
  if old.err then old = repaired(old.err, 'HMGET', R, unpack(ids)) end
  for i = 1, n do
    if old[i] then return true end
  end
  return false
end

-- ARGV from `first`: id and value of each of `count` results; `plain` = they are successes without
-- group, and no id comes twice.
local function save(first, count, plain)
  local last = first + count * 2 - 1
  local successes, n = {}, 0
  if plain and not is_known(first, last) then
    raw('HSET', R, unpack(ARGV, first, last))
    for i = first + 1, last, 2 do
      n = n + 1
      successes[n] = sub(ARGV[i], 2, 33)
    end
  else
    for i = first, last, 2 do
      local id, value = ARGV[i], ARGV[i + 1]
      local before = call('HGET', R, id)
      if not before or gives_way(before, value) then
        call('HSET', R, id, value)
        keep_index(value, successes)
      end
    end
  end
  if #successes > 0 then
    local added = try('RPUSH', S, unpack(successes))
    if type(added) == 'table' then repaired(added.err, 'RPUSH', S, unpack(successes)) end
  end
  if raw('EXISTS', P .. 'w') == 1 then
    for i = first, last, 2 do
      if byte(ARGV[i + 1]) >= FAILED then wake(ARGV[i]) end
    end
  end
end

local function is_over(entry, clock)
  -- what is no entry of ours goes as well
  if #entry < 32 then return true end
  local finished, ends = struct.unpack('>dd', entry)
  return finished ~= finished or (ends > 0 and ends <= clock)
end

-- Forget results that an entry in `s` names.
local function forget_entry(entry)
  local id = sub(entry, 17, 32)
  call('HDEL', R, id)
  if #entry > 32 then call('ZREM', P .. 'g:' .. sub(entry, 34), id) end
end

-- Forget up to `most` failed or retried results that are over; return how many.
local function forget_others(clock, most)
  local ids = call('ZRANGEBYSCORE', P .. 'e', '-inf', clock, 'LIMIT', 0, most)
  for _, id in ipairs(ids) do
    local value = call('HGET', R, id)
    if value and is_result(value) and byte(value) < SUCCESS then
      forget_index(value)
      call('HDEL', R, id)
    end
    call('ZREM', P .. 'e', id)
  end
  return #ids
end

-- Forget a few that are over; the first to end come first, unless they were given different times.
local function tidy(most)
  local clock = now / 1000
  forget_others(clock, most)
  local gone = 0
  for _, entry in ipairs(call('LRANGE', S, 0, most - 1)) do
    if not is_over(entry, clock) then break end
    forget_entry(entry)
    gone = gone + 1
  end
  if gone > 0 then call('LTRIM', S, gone, -1) end
end
