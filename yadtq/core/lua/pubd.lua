-- Kafka has acknowledged records: note where, and drop the outbox entry, unless the row was published again since.
-- ARGV: most bytes an envelope of a queued task may keep in Redis, then per record: id, gen, partition, offset
local out = {ERA, NOW}
for i = 2, #ARGV, 4 do
  local id = ARGV[i]
  local row = redis.call('HMGET', row_key(id), 'gen', 'status')
  if row[1] == ARGV[i + 1] then
    redis.call('HSET', row_key(id), 'part', ARGV[i + 2], 'offset', ARGV[i + 3])
    unsent[#unsent + 1] = id
    local envelope = P .. 'envelope:' .. id
    if row[2] == 'queued' and redis.call('STRLEN', envelope) > tonumber(ARGV[1]) then
      redis.call('DEL', envelope) -- a backlog of big payloads lives in Kafka
    end
  end
end
flush()
return out
