-- One page of tasks that have long been queued and are not in the outbox, oldest first, going round.
-- ARGV: queued for longer than ms, page size
-- Reply: per task id, gen, queue, partition, offset ('' = unknown)
-- Where the last page ended: a score, and how many tasks of that very score have been seen.
local from, skip = string.match(redis.call('GET', P .. 'audit') or '', '^(%d+):(%d+)$')
from, skip = from or '-inf', tonumber(skip or 0)
local limit = int(US - ARGV[1] * 1000)
local page = redis.call('ZRANGEBYSCORE', P .. 'index:queued', from, limit, 'WITHSCORES', 'LIMIT', skip, ARGV[2])
local out = {ERA, NOW}
for i = 1, #page, 2 do
  local id = page[i]
  if not redis.call('ZSCORE', P .. 'outbox', id) then
    local r = redis.call('HMGET', row_key(id), 'gen', 'queue', 'part', 'offset')
    if r[1] then for _, value in ipairs({id, r[1], r[2], r[3] or '', r[4] or ''}) do out[#out + 1] = value end end
  end
end
local mark = '' -- at the end: from the beginning again
if #page >= 2 * tonumber(ARGV[2]) then
  local last, seen = page[#page], 0
  for i = 2, #page, 2 do if page[i] == last then seen = seen + 1 end end
  if int(tonumber(last)) == from then seen = seen + skip end
  mark = int(tonumber(last)) .. ':' .. seen
end
redis.call('SET', P .. 'audit', mark, 'EX', 86400)
return out
