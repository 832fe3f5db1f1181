-- Lines for the histories of tasks that are there.
-- ARGV: per task: id, entry (JSON)
local out = {ERA, NOW}
for i = 1, #ARGV, 2 do
  local id = ARGV[i]
  if redis.call('EXISTS', row_key(id)) == 1 and redis.call('HEXISTS', row_key(id), 'deleted') == 0 then
    add_history(id, ARGV[i + 1])
    local left = redis.call('TTL', row_key(id))
    if left > 0 then redis.call('EXPIRE', P .. 'history:' .. id, left) end
    redis.call('HSET', row_key(id), 'seq', seq())
    add_pair(changed, seq(), 't:' .. id)
  end
end
flush()
return out
