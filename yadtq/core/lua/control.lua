-- A person asks something of one worker, which hears of it with its next beat. A worker that does not hear in time is not
-- surprised by it later; one that did not answer is told again, so each command may be obeyed twice.
-- ARGV: incarnation, command (pause, resume, shutdown, detach:<task id>), ms after which it is forgotten, how many may wait
-- Reply: OK, GONE (it is not among the workers) or FULL
local inc, command = ARGV[1], ARGV[2]
local asked = P .. 'control:' .. inc
if not redis.call('ZSCORE', P .. 'workers', inc) then return {ERA, NOW, 'GONE'} end
redis.call('ZREMRANGEBYSCORE', asked, '-inf', '(' .. int((NOW - ARGV[3]) * 1000))
if redis.call('ZCARD', asked) >= tonumber(ARGV[4]) and not redis.call('ZSCORE', asked, command) then
  return {ERA, NOW, 'FULL'}
end
local last = redis.call('ZRANGE', asked, -1, -1, 'WITHSCORES')[2] or 0
redis.call('ZADD', asked, int(math.max(US, last + 1)), command) -- its number tells which of them was obeyed
redis.call('PEXPIRE', asked, ARGV[3])
note_worker(inc)
flush()
return {ERA, NOW, 'OK'}
