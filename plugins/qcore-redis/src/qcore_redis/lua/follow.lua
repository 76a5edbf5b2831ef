-- o:<connection>  ids of the messages it put in last by an exchange.

-- ARGV from `at`: a connection, the ids of `count` messages (16 bytes each), and each as for `put`.
-- One whose answer was lost says all of it again, perhaps with more: what is here already is left out.
-- Returns the position behind.
local function follow(at, count)
  local key, ids = P .. 'o:' .. ARGV[at], ARGV[at + 1]
  local known, last = {}, call('GET', key) or ''
  for i = 1, #last, 16 do known[sub(last, i, i + 15)] = true end
  local new = false
  for i = 0, count - 1 do
    if not known[sub(ids, i * 16 + 1, i * 16 + 16)] then
      put(at + 2 + i * 3, at + 4 + i * 3)
      new = true
    end
  end
  if new then call('SET', key, ids, 'PX', 3600000) end
  return at + 2 + count * 3
end
