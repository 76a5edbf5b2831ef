-- ARGV: where to begin in `d`, how many at most. Returns how many were seen, then of each queue its name, how many
-- of them are due, and how many are not.
local names, due, later = {}, {}, {}
local members = call('ZRANGE', D, ARGV[1], ARGV[1] + ARGV[2] - 1, 'WITHSCORES')
for i = 1, #members, 2 do
  local item = sub(members[i], 9)
  if is_message(item) then
    local name = sub(part(item), 4)
    if not due[name] then
      names[#names + 1] = name
      due[name], later[name] = 0, 0
    end
    local state = tonumber(members[i + 1]) <= now and due or later
    state[name] = state[name] + 1
  end
end
local found = {#members / 2}
for _, name in ipairs(names) do
  for _, value in ipairs({name, due[name], later[name]}) do found[#found + 1] = value end
end
return found
