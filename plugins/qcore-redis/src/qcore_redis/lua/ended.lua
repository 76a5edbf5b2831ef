-- ids of acknowledged messages, by the time at which these were enqueued
--
-- o:<bucket>  STRING  ids, 16 bytes each
-- o  LIST  buckets in the order they began
-- on  how many ids there are, oh  the highest so far, in hex digits, because texts are compared by the locale

-- A bucket has begun: the oldest go that nothing was added to within the window, and those that are too many.
local function forget_oldest(total, limit, window)
  for _ = 1, 5 do
    local bucket = call('LINDEX', P .. 'o', 0)
    if not bucket then
      -- Nothing is left, so the number was another's.
      raw('UNLINK', P .. 'on')
      return
    end
    -- whole ids, whatever others have put there
    local size = math.floor(call('STRLEN', P .. 'o:' .. bucket) / 16)
    if total - size < limit and raw('PTTL', P .. 'o:' .. bucket) > tonumber(window) then return end
    call('LPOP', P .. 'o')
    raw('UNLINK', P .. 'o:' .. bucket)
    -- not -size, which of nothing is -0, and that is no number to the server
    total = call('INCRBY', P .. 'on', 0 - size)
  end
end

-- ARGV from `at`: milliseconds, number of ids that are remembered; then bucket, highest id and ids of each.
local function remember(at)
  local window, limit = ARGV[at], tonumber(ARGV[at + 1])
  local high = call('GET', P .. 'oh') or ''
  for i = at + 2, #ARGV, 3 do
    local bucket, ids = ARGV[i], ARGV[i + 2]
    if ARGV[i + 1] > high then high = ARGV[i + 1] end
    local size = call('APPEND', P .. 'o:' .. bucket, ids)
    -- twice the window, so that what is over can still be counted
    raw('PEXPIRE', P .. 'o:' .. bucket, window * 2)
    local total = call('INCRBY', P .. 'on', #ids / 16)
    if size == #ids then
      if call('RPUSH', P .. 'o', bucket) > 1 then forget_oldest(total, limit, window) end
      for _, key in ipairs({'o', 'on'}) do raw('PEXPIRE', P .. key, window * 2) end
    end
  end
  call('SET', P .. 'oh', high, 'PX', window)
  return high
end
