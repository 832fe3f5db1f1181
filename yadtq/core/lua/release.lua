-- A stopping worker hands back what it will not finish; the last thing it does is leave the list of workers.
-- ARGV: incarnation, tombstone ttl s, 1 when it leaves now, the era that has been told what ended there ('' for any),
--       then per task: id, token
local inc = ARGV[1]
if ARGV[4] ~= '' and ARGV[4] ~= ERA then return {ERA, NOW} end -- by these rows it may still hold what has ended
for i = 5, #ARGV, 2 do
  local row = read_running(ARGV[i])
  if row.status == 'processing' and row.token == ARGV[i + 1] then give_back(ARGV[i], row, ARGV[2]) end
end
if ARGV[3] == '1' then
  -- Whatever it still holds by now is nobody's: reap walks only the list it leaves.
  for _, id in ipairs(redis.call('SMEMBERS', P .. 'run:' .. inc)) do
    local row = read_running(id)
    if row.status == 'processing' and row.inc == inc then give_back(id, row, ARGV[2]) end
  end
  redis.call('DEL', P .. 'run:' .. inc)
  redis.call('ZREM', P .. 'workers', inc)
  redis.call('ZADD', P .. 'left', NOWS, inc)
  redis.call('ZREMRANGEBYRANK', P .. 'left', 0, -201)
  redis.call('HSET', P .. 'worker:' .. inc, 'stopped', NOWS)
  redis.call('EXPIRE', P .. 'worker:' .. inc, 3600)
  note_worker(inc)
end
flush()
return {ERA, NOW}
