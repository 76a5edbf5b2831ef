-- ARGV: how many bodies were stored right in front of this, each with an expiry, and their ids, see
-- `enqueue_large`; then messages, see `put`. Nothing is done if one of the bodies is not there.
local large = tonumber(ARGV[1])
for i = 2, large + 1 do
  if raw('PERSIST', P .. 'b:' .. ARGV[i]) == 0 and raw('EXISTS', P .. 'b:' .. ARGV[i]) == 0 then
    for j = 2, i - 1 do raw('UNLINK', P .. 'b:' .. ARGV[j]) end
    return redis.error_reply('GONE a body is not there')
  end
end
put(large + 2, #ARGV)
return 0
