-- Tasks whose record is gone from Kafka: into the outbox again, or failed with the reason where the envelope is gone too.
-- ARGV: failed ttl s, then per task: id, gen
local out = {ERA, NOW}
for i = 2, #ARGV, 2 do
  local id = ARGV[i]
  local r = redis.call('HMGET', row_key(id), 'status', 'gen', 'queue')
  if r[1] == 'queued' and r[2] == ARGV[i + 1] then
    if redis.call('EXISTS', P .. 'envelope:' .. id) == 1 then
      redis.call('HDEL', row_key(id), 'part', 'offset')
      add_pair(sends, NOWS, id)
      out[#out + 1] = id
    else
      fail(id, r[3], 'queued', ARGV[1], 'error', 'Kafka deleted its record unread: raise the retention', '')
    end
  end
end
flush()
return out
