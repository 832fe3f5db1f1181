-- Move on the tasks of incarnations that fell silent. Only one who has himself beaten without a gap may call others dead:
-- after an outage, a pause or a start, everybody was away.
-- ARGV: incarnation of the caller, offline after ms, largest gap ms, steady for ms, tombstone ttl s, failed ttl s
-- Reply: the incarnations declared dead
-- The clock was set back since these beats; whoever lives beats again, the others are silent from now on.
for _, inc in ipairs(redis.call('ZRANGEBYSCORE', P .. 'workers', '(' .. NOWS, '+inf')) do
  redis.call('ZADD', P .. 'workers', NOWS, inc)
end

local me = P .. 'worker:' .. ARGV[1]
local beat, series = unpack(redis.call('HMGET', me, 'beat', 'series'))
if not beat or NOW - beat > tonumber(ARGV[3]) or NOW - series < tonumber(ARGV[4]) then return {ERA, NOW} end

-- Each task the worker held may have killed it: which of them had begun, or had ended without its outcome being written
-- down, nobody knows any more. Innocents only come to run alone.
local function move_on(inc)
  for _, id in ipairs(redis.call('SMEMBERS', P .. 'run:' .. inc)) do
    local row = read_running(id)
    if row.status == 'processing' and row.inc == inc then
      add_history(id, cjson.encode({attempt = row.attempt, worker = row.worker, started = row.started, finished = NOW, outcome = 'lost', error = 'the worker stopped answering'}))
      survive(id, row, row.lost + 1, ARGV[6], ARGV[5], 'three workers died running it')
    end
  end
  redis.call('DEL', P .. 'run:' .. inc)
end

local out = {ERA, NOW}
for _, inc in ipairs(redis.call('ZRANGEBYSCORE', P .. 'workers', '-inf', '(' .. int(NOW - ARGV[2]), 'LIMIT', 0, 20)) do
  redis.call('ZADD', P .. 'dead', NOW, inc)
  redis.call('ZREM', P .. 'workers', inc)
  move_on(inc)
  note_worker(inc)
  out[#out + 1] = inc
end
redis.call('ZREMRANGEBYSCORE', P .. 'dead', '-inf', NOW - 604800000) -- 7 days
redis.call('ZREMRANGEBYRANK', P .. 'dead', 0, -KEPT - 1)
flush()
return out
