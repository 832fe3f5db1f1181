-- Outbox entries past their check time, to be published (again): same id, same gen.
-- ARGV: most tasks a call, delay ms until the next check, failed ttl s
-- Reply: per task id, gen, queue, hand-backs, envelope
local out, bytes = {ERA, NOW}, 0
-- No check is further ahead than that: the clock was set back since these were noted.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'outbox', '(' .. int(NOW + ARGV[2]), '+inf', 'LIMIT', 0, ARGV[1])) do
  redis.call('ZADD', P .. 'outbox', NOWS, id)
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'outbox', '-inf', NOW, 'LIMIT', 0, ARGV[1])) do
  local r = redis.call('HMGET', row_key(id), 'status', 'gen', 'queue', 'handbacks')
  local envelope = redis.call('GET', P .. 'envelope:' .. id)
  if r[1] ~= 'queued' then
    unsent[#unsent + 1] = id
  elseif not envelope then
    fail(id, r[3], 'queued', ARGV[3], 'error', 'its arguments were lost with Redis; submit it again', '')
  else
    add_pair(sends, int(NOW + tonumber(ARGV[2])), id)
    for _, value in ipairs({id, r[2], r[3], r[4] or '0', envelope}) do out[#out + 1] = value end
    bytes = bytes + #envelope
    if bytes > 4194304 then break end
  end
end
flush()
return out
