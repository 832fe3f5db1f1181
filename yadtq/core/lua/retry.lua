-- A person retries a failed, cancelled or expired task: queued again, from its first attempt, history kept.
-- ARGV: id, envelope ('' = the one in Redis)
-- Reply: the status found; after 'queued' nothing more is needed. With NOENVELOPE: queue, gen, partition, offset of the record to read it from
local id = ARGV[1]
local r = redis.call('HMGET', row_key(id), 'status', 'queue', 'gen', 'part', 'offset')
local status = r[1] or ''
if status ~= 'failed' and status ~= 'cancelled' and status ~= 'expired' then return {ERA, NOW, status} end
local envelope = P .. 'envelope:' .. id
if ARGV[2] ~= '' then redis.call('SET', envelope, ARGV[2]) end
if redis.call('EXISTS', envelope) == 0 then
  return {ERA, NOW, 'NOENVELOPE', r[2], r[3], r[4] or '', r[5] or ''}
end
redis.call('PERSIST', row_key(id))
redis.call('PERSIST', envelope)
redis.call('PERSIST', P .. 'history:' .. id)
redis.call('HDEL', row_key(id), 'cancel', 'expires', 'reason', 'error', 'handbacks')
republish(id, r[2], status, tonumber(r[3]) + 1, 'attempt', 0, 'lost', 0, 'retried', NOW)
flush()
return {ERA, NOW, 'queued'}
