-- Take records for running. Never takes a running task over: only reap moves tasks of the dead. But a row that is older than
-- a run told again (Redis went back) says nothing of that run: the one it names ended before this one was published.
-- ARGV: incarnation, worker name, 1 when it re-asserts what it already runs, tombstone ttl s, ms that a row lives at least after
--       its record was made, the era that has been told what the worker ran ('' where it has not run anything, or tells it now),
--       ms in which all workers tell a Redis that went back what they run,
--       then per record: id, gen, token, record time ms, envelope ('' unless over the inline limit)
-- Reply: per record `RUN:<attempt>:<fence>` (`:ALONE` follows where it has the worker for itself), DONE, CANCELLED, EXPIRED;
--        LOST (no row: rebuild, then ask again);
--        BUSY (another run holds it), `BUSY:<ms it has run>` where that run needs no record any more;
--        ALONE (a suspect, needs the worker for itself), WAIT (a suspect has the worker for itself);
--        or FENCED alone, when the incarnation is among the dead; nothing where the era is another
local inc, worker, reasserts = ARGV[1], ARGV[2], ARGV[3] == '1'
if redis.call('ZSCORE', P .. 'dead', inc) then return {ERA, NOW, 'FENCED'} end
-- A sweep may have published anew, in this very moment, what has ended there without this Redis knowing it any more.
if ARGV[6] ~= '' and ARGV[6] ~= ERA then return {ERA, NOW} end
local running = P .. 'run:' .. inc
local holds = redis.call('SCARD', running)
local suspect = redis.call('HGET', P .. 'worker:' .. inc, 'suspect')
if suspect and redis.call('SISMEMBER', running, suspect) == 0 then -- it was given back by others
  redis.call('HDEL', P .. 'worker:' .. inc, 'suspect')
  suspect = nil
end
local out, taken = {ERA, NOW}, {}

-- A run that began under this very publication is covered without its record: by the row, by the envelope for the next
-- publication, and by a worker whose death would be noticed.
local function busy_with(id, row_gen, gen, holder)
  local covered = row_gen == gen and redis.call('EXISTS', P .. 'envelope:' .. id) == 1
    and redis.call('ZSCORE', P .. 'workers', inc_of(holder))
  return covered and 'BUSY:' .. int(NOW - redis.call('HGET', row_key(id), 'started')) or 'BUSY'
end

local function take(id, gen, token, envelope, r)
  local key, status = row_key(id), r[1]
  local attempt, fence = int(tonumber(r[7] or 0) + 1), int(math.max(tonumber(r[8] or 0) + 1, US))
  if status == 'failed' then start_over(id) end
  redis.call('HSET', key, 'status', 'processing', 'token', token, 'worker', worker, 'started', NOWS,
    'attempt', attempt, 'fence', fence, 'seq', seq())
  if tonumber(r[2]) ~= gen then redis.call('HSET', key, 'gen', gen) end -- Redis went back: the record knows better
  if envelope ~= '' then redis.call('SET', P .. 'envelope:' .. id, envelope) end
  if status ~= 'queued' then
    redis.call('HDEL', key, 'due')
    undue[#undue + 1] = id
  elseif r[5] then
    undue[#undue + 1] = id
  end
  taken[#taken + 1] = id
  unsent[#unsent + 1] = id
  note_move(id, r[9], status, 'processing')
  return 'RUN:' .. attempt .. ':' .. fence
end

-- A record without a row: either its task has ended and the row's time is over, or Redis has lost the row. It has where the
-- time cannot be over yet, and it may have where the task was submitted in a gap: then rather twice than not at all.
local function row_was_lost(record_time)
  if NOW - record_time < tonumber(ARGV[5]) then return true end
  for _, from in ipairs(redis.call('ZRANGEBYSCORE', P .. 'gaps', record_time, '+inf')) do
    if tonumber(from) <= record_time then return true end
  end
  return false
end

local function answer(id, gen, token, record_time, envelope)
  local key = row_key(id)
  local r = redis.call('HMGET', key, 'status', 'gen', 'token', 'cancel', 'expires', 'lost', 'attempt', 'fence', 'queue', 'deleted',
    'changed')
  local status, row_gen = r[1], tonumber(r[2])
  if not status then return row_was_lost(record_time) and 'LOST' or 'DONE' end
  -- Redis went back: what was published after the failure, only a person's retry can have published.
  if status == 'failed' and row_gen < gen and not r[10] and record_time >= tonumber(r[11]) then
    r[4], r[5], r[6], r[7] = nil, nil, nil, nil -- as start_over will leave it
  elseif TERMINAL[status] or row_gen > gen then
    return 'DONE'
  end
  if r[3] == token and status == 'processing' then return 'RUN:' .. r[7] .. ':' .. r[8] end
  if status == 'processing' and reasserts and row_gen < gen then
    redis.call('SREM', P .. 'run:' .. inc_of(r[3]), id)
    return take(id, gen, token, envelope, r)
  end
  if status == 'processing' then return busy_with(id, row_gen, gen, r[3]) end
  if r[4] then end_without_result(id, r[9], status, 'cancelled', ARGV[4]); return 'CANCELLED' end
  if r[5] and tonumber(r[5]) <= NOW and not reasserts then -- what is told again began in time
    if NOW < all_told_at(ARGV[7]) then return 'BUSY' end -- and it may yet be
    end_without_result(id, r[9], status, 'expired', ARGV[4])
    return 'EXPIRED'
  end
  local alone = tonumber(r[6] or 0) >= 2
  if suspect and not reasserts then return 'WAIT' end
  if alone and holds + #taken > 0 and not reasserts then return 'ALONE' end
  if alone then
    suspect = id
    redis.call('HSET', P .. 'worker:' .. inc, 'suspect', id)
    redis.call('EXPIRE', P .. 'worker:' .. inc, 3600)
  end
  return take(id, gen, token, envelope, r)
end

for i = 8, #ARGV, 5 do
  local code = answer(ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], tonumber(ARGV[i + 3]), ARGV[i + 4])
  out[#out + 1] = suspect == ARGV[i] and string.sub(code, 1, 3) == 'RUN' and code .. ':ALONE' or code
end
each_chunk(taken, 1000, function(...) redis.call('SADD', running, ...) end)
if #taken > 0 then redis.call('ZADD', P .. 'workers', 'NX', NOWS, inc) end -- it may not have beaten yet, and has to be missed
flush()
return out
