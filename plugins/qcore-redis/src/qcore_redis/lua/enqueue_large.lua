-- Accept messages of the default queue and priority. Their large bodies were stored right in front of this, so
-- that no script copies them, and each with an expiry, so that what is not accepted goes by itself. ARGV: how
-- many these are, their ids, the items in their order. Nothing is done if one of the bodies is not there.
--
-- It stands alone: what `prelude` defines takes longer than this.
local prefix, large = string.sub(KEYS[1], 1, -2) .. 'b:', tonumber(ARGV[1])
for i = 2, large + 1 do
  -- one that has no expiry is there as well
  if redis.call('PERSIST', prefix .. ARGV[i]) == 0 and redis.call('EXISTS', prefix .. ARGV[i]) == 0 then
    for j = 2, i - 1 do redis.call('UNLINK', prefix .. ARGV[j]) end
    return redis.error_reply('GONE a body is not there')
  end
end
for i = large + 2, #ARGV, 1000 do
  local added = redis.pcall('RPUSH', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
  if type(added) == 'table' then
    for j = 2, large + 1 do redis.call('UNLINK', prefix .. ARGV[j]) end
    return added
  end
end
return 0
