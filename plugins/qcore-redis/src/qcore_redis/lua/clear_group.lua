-- ARGV: a group, how many at most. Returns how many results left it, and how many were looked at.
local key, count = P .. 'g:' .. ARGV[1], 0
local ids = call('ZRANGE', key, 0, ARGV[2] - 1)
for _, id in ipairs(ids) do
  local value = call('HGET', R, id)
  if value and is_result(value) and byte(value, 34) < 32 and group_of(value) == ARGV[1] then
    local ends = struct.unpack('>d', value, 10)
    if ends == 0 or ends * 1000 > now then count = count + 1 end
    -- its entry goes on telling of the group: to find it costs more than to say that it is no longer in it
    call('HSET', R, id, sub(value, 1, 33) .. char(byte(value, 34) + 32) .. sub(value, 35))
  end
  call('ZREM', key, id)
end
return {count, #ids}
