-- Before every script: names of the keys, the time, and what an item is.
--
-- q  LIST  items that are ready, the next one first
-- l  ZSET  token of a lease -> end of the lease, milliseconds of this server's clock
-- l:<token>  LIST  the items of one lease; a settled one leaves an empty text in its place
-- t  HASH  token -> how many of its items are settled, while some are not
-- d  ZSET  8 bytes that make it unique .. item -> when it is due
-- b:<id>  the body of an item that is too large to be moved about
-- n  a counter that names dead letters and tells equal delayed items apart
-- x, xz  dead letters by id, their ids in order
--
-- An item begins with a byte of flags: 1 = counters follow (it came back), 2 = the id of its body
-- follows and not the body, 4 = it is no message, only a call to look at `d` again.
--
-- Whoever can write to the server can put anything anywhere. A key that holds something of another kind is
-- renamed to aside:<key>:<time>, a dead letter names it, and the script goes on as if it had been empty.
local raw, try, byte, sub, char = redis.call, redis.pcall, string.byte, string.sub, string.char
local P = sub(KEYS[1], 1, -2)
local Q, L, LEASE, D, T = KEYS[1], P .. 'l', P .. 'l:', P .. 'd', P .. 't'
local time = raw('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local set_aside

-- Do again what failed, without what was in its way. Any other error, as of a full server, is raised.
local function repaired(reason, command, key, ...)
  local uncountable = string.find(reason, 'not an integer', 1, true) or string.find(reason, 'overflow', 1, true)
  if string.find(reason, 'WRONGTYPE', 1, true) then
    set_aside(key, 'held something of another kind')
  elseif uncountable and command == 'HINCRBY' then
    raw('HDEL', key, (...))
  elseif uncountable and (command == 'INCR' or command == 'INCRBY') then
    set_aside(key, 'was no number that can be counted up')
  end
  return raw(command, key, ...)
end

-- Where there are many words it is spelled out: to hand them on once more costs.
local function call(command, key, ...)
  local reply = try(command, key, ...)
  if type(reply) == 'table' and reply.err then return repaired(reply.err, command, key, ...) end
  return reply
end

local function dead_letter(flags, rest, failures, crashes, reason)
  local id = call('INCR', P .. 'n')
  local letter = struct.pack('>dI4I4I4', now / 1000, failures, crashes, #reason) .. reason .. char(flags) .. rest
  call('HSET', P .. 'x', id, letter)
  call('ZADD', P .. 'xz', id, id)
end

set_aside = function(key, why)
  local name = sub(key, #P + 1)
  local kept = P .. 'aside:' .. name .. ':' .. time[1] .. string.format('%06d', time[2])
  raw('RENAME', key, kept)
  -- it goes on with a number that was never given out
  if name == 'n' then raw('SET', key, string.format('%.0f', now * 1000)) end
  dead_letter(0, '', 0, 0, 'not from qcore: the key ' .. key .. ' ' .. why .. ' and is now ' .. kept)
end

local function read(item)
  local flags = byte(item)
  -- what has no such flags was not put here by us: the whole of it is the body, and whoever leases it judges
  if not flags or flags > 3 or (flags % 2 == 1 and #item < 21) then return 0, 0, 0, 0, item end
  if flags % 2 == 0 then return flags, 0, 0, 0, sub(item, 2) end
  local deliveries, failures, crashes = struct.unpack('>I4I4I4', item, 2)
  return flags - 1, deliveries, failures, crashes, sub(item, 22)
end

local function item_of(flags, deliveries, failures, crashes, available, rest)
  if deliveries + failures + crashes + available == 0 then return char(flags) .. rest end
  return char(flags + 1) .. struct.pack('>I4I4I4d', deliveries, failures, crashes, available) .. rest
end

local function is_message(item)
  return item and item ~= '' and item ~= '\4'
end

-- Put items before all others, the first of them first.
local function to_head(items)
  for i = #items, 1, -1 do call('LPUSH', Q, items[i]) end
end

local function put_later(item, due)
  call('ZADD', D, due, struct.pack('>I8', call('INCR', P .. 'n')) .. item)
end

-- Wake one that waits, so that it sees what is due sooner than all it knew of.
local function wake_later(due)
  if call('LLEN', Q) == 0 then
    local first = call('ZRANGE', D, 0, 0, 'WITHSCORES')
    if first[2] and tonumber(first[2]) >= due then call('RPUSH', Q, char(4)) end
  end
end

-- End a lease: what is left of it is ready again. `ended` = when it ran out, nil = it is not counted.
local function release_lease(token, ended)
  if ended and ended < 0 then ended = now end
  local left = {}
  for _, item in ipairs(call('LRANGE', LEASE .. token, 0, -1)) do
    if is_message(item) then
      if ended then
        local flags, deliveries, failures, crashes, rest = read(item)
        item = item_of(flags, deliveries + 1, failures, crashes, ended / 1000, rest)
      end
      left[#left + 1] = item
    end
  end
  raw('DEL', LEASE .. token)
  call('HDEL', T, token)
  to_head(left)
  return #left
end
