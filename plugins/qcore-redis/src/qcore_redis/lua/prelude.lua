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
-- The list q has the messages of the default queue and priority. Those of others are each behind its route:
-- 8, the priority + 101, the length of the queue's name, the name. A stream is what has one route.
--
-- q:<priority>:<queue>  LIST  items of a stream that are ready, the next one first
-- qs  ZSET  <priority>:<queue> of each stream that may have items -> -priority
-- qs:<queue>  ZSET  the same of one queue
-- qp  HASH  queues that are paused; the default one has an empty name
-- qw  LIST  calls to those that wait and do not lease from q
-- qh  how often such a call is handed on, at most
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

local function dead_letter(flags, rest, failures, crashes, reason, route)
  local id = call('INCR', P .. 'n')
  local letter = struct.pack('>dI4I4I4', now / 1000, failures, crashes, #reason) .. reason .. (route or '') .. char(flags) .. rest
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

-- Part an item from its route, which is empty for the default queue and priority.
local function part(item)
  if byte(item) ~= 8 then return '', item end
  local priority, length = byte(item, 2, 3)
  -- what has no such route was not put here by us, and is a body like any other
  if not length or priority < 1 or priority > 201 or #item < 3 + length then return '', item end
  local route = sub(item, 1, 3 + length)
  if string.find(route, '[^%w_.-]', 4) then return '', item end
  return route, sub(item, 4 + length)
end

-- Call one that waits for the default queue and one that does not; each hands it on if it is not for it.
local function alert()
  if call('LLEN', Q) == 0 then call('RPUSH', Q, char(4)) end
  if call('LLEN', P .. 'qw') == 0 then call('RPUSH', P .. 'qw', char(4)) end
  raw('PEXPIRE', P .. 'qw', 60000)
  raw('SET', P .. 'qh', call('ZCARD', L) + 1, 'PX', 60000)
end

-- The list of a route, which is in the index from now on.
local indexed = {}
local function list_of(route)
  local priority, queue = byte(route, 2) - 101, sub(route, 4)
  local stream = priority .. ':' .. queue
  call('ZADD', P .. 'qs', 0 - priority, stream)
  call('ZADD', P .. 'qs:' .. queue, 0 - priority, stream)
  if not next(indexed) then alert() end
  indexed[route] = P .. 'q:' .. stream
  return indexed[route]
end

-- Put an item before or behind the others of its stream.
local function add(command, item)
  local route = part(item)
  if route == '' then return call(command, Q, item) end
  return call(command, indexed[route] or list_of(route), item)
end

-- Put items before all others, the first of them first.
local function to_head(items)
  for i = #items, 1, -1 do add('LPUSH', items[i]) end
end

local function put_later(item, due)
  call('ZADD', D, due, struct.pack('>I8', call('INCR', P .. 'n')) .. item)
end

-- Wake one that waits, so that it sees what is due sooner than all it knew of.
local function wake_later(due, route)
  if route and route ~= '' then return alert() end
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
        local route, inner = part(item)
        local flags, deliveries, failures, crashes, rest = read(inner)
        item = route .. item_of(flags, deliveries + 1, failures, crashes, ended / 1000, rest)
      end
      left[#left + 1] = item
    end
  end
  raw('DEL', LEASE .. token)
  call('HDEL', T, token)
  to_head(left)
  return #left
end
