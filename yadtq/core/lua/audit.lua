-- One page of tasks that have long been queued and are not in the outbox, oldest first, going round.
-- ARGV: queued for longer than ms, page size
-- Reply: per task id, gen, queue, partition, offset ('' = unknown)
local from = redis.call('GET', P .. 'audit') or '-inf'
local limit = int(US - ARGV[1] * 1000)
local page = redis.call('ZRANGEBYSCORE', P .. 'index:queued', from, limit, 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local out = {ERA, NOW}
for i = 1, #page, 2 do
  local id = page[i]
  if not redis.call('ZSCORE', P .. 'outbox', id) then
    local r = redis.call('HMGET', row_key(id), 'gen', 'queue', 'part', 'offset')
    if r[1] then for _, value in ipairs({id, r[1], r[2], r[3] or '', r[4] or ''}) do out[#out + 1] = value end end
  end
end
local last = #page >= 2 * tonumber(ARGV[2]) and page[#page] or '-inf'
redis.call('SET', P .. 'audit', last, 'EX', 86400)
return out
