-- A person cancels a task: a waiting one ends now, a running one is asked to stop.
-- ARGV: id, when it was asked (ms, Redis time), tombstone ttl s
-- Reply: the status afterwards, 'stopping' for a running one, or '' when there is no such task
local id = ARGV[1]
local r = redis.call('HMGET', row_key(id), 'status', 'queue', 'retried')
local status = r[1] or ''
if TERMINAL[status] or status == '' or (r[3] and tonumber(ARGV[2]) < tonumber(r[3])) then return {ERA, NOW, status} end
if status == 'processing' then
  redis.call('HSET', row_key(id), 'cancel', ARGV[2], 'seq', seq())
  note_move(id, r[2], status, status)
  flush()
  return {ERA, NOW, 'stopping'}
end
end_without_result(id, r[2], status, 'cancelled', ARGV[3])
flush()
return {ERA, NOW, 'cancelled'}
