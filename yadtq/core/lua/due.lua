-- What has come due: scheduled and retrying tasks go to the outbox, those whose time to start has passed expire.
-- Failed tasks whose time to live has passed leave their lists.
-- ARGV: most tasks a call, tombstone ttl s, failed ttl s, ms in which all workers tell a Redis that went back what they run
-- Reply: how many were moved
local told_at = all_told_at(ARGV[4])
local ids = redis.call('ZRANGEBYSCORE', P .. 'due', '-inf', NOW, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(ids) do
  local r = redis.call('HMGET', row_key(id), 'status', 'queue', 'cancel', 'expires', 'gen')
  local status, queue, expires = r[1], r[2], tonumber(r[4])
  undue[#undue + 1] = id
  if status == 'scheduled' or status == 'retrying' or status == 'queued' then
    if r[3] then
      end_without_result(id, queue, status, 'cancelled', ARGV[2])
    elseif expires and expires <= NOW and NOW < told_at then -- it may have begun in time
      add_pair(dues, int(told_at), id)
    elseif expires and expires <= NOW then
      end_without_result(id, queue, status, 'expired', ARGV[2])
    elseif status ~= 'queued' then
      republish(id, queue, status, r[5]) -- the gen was raised when it began to wait
      if expires then add_pair(dues, r[4], id) end
    end
  end
end
trim_failed(ARGV[3])
flush()
return {ERA, NOW, #ids}
