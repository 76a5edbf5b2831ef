-- u  HASH  cluster -> when its status is outlived, and the status.
-- ARGV: cluster, milliseconds, body. What is outlived goes as well.
local key = P .. 'u'
local count = call('HLEN', key)
-- of many clusters one of so many looks at all; readers pass over what is outlived
if count <= 16 or now % count < 1 then
  for _, cluster in ipairs(call('HKEYS', key)) do
    local published = call('HGET', key, cluster)
    if #published < 8 or not (struct.unpack('>d', published) > now) then call('HDEL', key, cluster) end
  end
end
if ARGV[3] == '' then
  call('HDEL', key, ARGV[1])
else
  call('HSET', key, ARGV[1], struct.pack('>d', now + ARGV[2]) .. ARGV[3])
end
return 0
