-- End a queued task that no worker will run: its very record, or its envelope in Redis, cannot be trusted.
-- Anybody who can write to Kafka can write a record with any task's id; so an id proves nothing. Only the record at the coordinates
-- that Kafka gave to the task's own publisher is that task's, and no writer can put another one there.
-- ARGV: failed ttl s, id, queue, partition, offset, envelope ('' = judged by the coordinates), why
-- Reply: REJECTED; OTHER (the task is not about this record, and goes on); UNPUBLISHED (its coordinates are not known yet: ask again)
local id = ARGV[2]
local r = redis.call('HMGET', row_key(id), 'status', 'queue', 'part', 'offset')
if r[1] ~= 'queued' or r[2] ~= ARGV[3] then return {ERA, NOW, 'OTHER'} end
if ARGV[6] == '' then
  if not r[4] then return {ERA, NOW, redis.call('ZSCORE', P .. 'outbox', id) and 'UNPUBLISHED' or 'OTHER'} end
  if r[3] ~= ARGV[4] or r[4] ~= ARGV[5] then return {ERA, NOW, 'OTHER'} end
elseif redis.call('GET', P .. 'envelope:' .. id) ~= ARGV[6] then
  return {ERA, NOW, 'OTHER'}
end
fail(id, r[2], 'queued', ARGV[1], 'rejected', ARGV[7], '')
flush()
return {ERA, NOW, 'REJECTED'}
