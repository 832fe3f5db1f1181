-- What every move shares; put before each script by yadtq_result_db.py, which also names the keys.
-- KEYS[1] is the prefix of all keys. Every reply is {era, now in ms, …}: the era changes when Redis
-- was restarted, failed over, rolled back or emptied.
local P = KEYS[1]
local T = redis.call('TIME')
local US = T[1] * 1000000 + T[2]
local NOW = math.floor(US / 1000)
local KEPT = 10000 -- how many entries an index of ended tasks holds (failed: all)

-- Numbers go into commands as text made once: letting Redis format each costs more than the command.
local function int(n) return string.format('%.0f', n) end
local NOWS, USS = int(NOW), int(US)

local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local epoch, server = unpack(redis.call('MGET', P .. 'epoch', P .. 'server'))
if not epoch then
  epoch = int(NOW) .. '-' .. string.sub(run_id, 1, 8)
  redis.call('SET', P .. 'epoch', epoch)
end
local ERA = epoch .. '/' .. run_id

-- This data was last written by another Redis, or by an earlier run of this one, or it is new. What was submitted after the
-- newest task that it knows, and before now, may be lost. A minute on either side is for clocks that disagree and for an
-- old primary that went on for a while. Beyond a hundred such gaps the two oldest become one.
local MARGIN = 60000
local function note_gap()
  local newest = redis.call('ZRANGE', P .. 'index:all', -1, -1, 'WITHSCORES')[2]
  newest = math.floor((newest or 0) / 1000)
  redis.call('ZADD', P .. 'gaps', 'GT', int(math.max(NOW, newest) + MARGIN), int(math.min(NOW, newest) - MARGIN))
  if redis.call('ZCARD', P .. 'gaps') > 100 then
    local a, _, b, till = unpack(redis.call('ZRANGE', P .. 'gaps', 0, 1, 'WITHSCORES'))
    redis.call('ZREM', P .. 'gaps', a, b)
    redis.call('ZADD', P .. 'gaps', till, int(math.min(a, b)))
  end
  redis.call('SET', P .. 'server', run_id)
end

if server ~= run_id then note_gap() end

-- When (ms) the workers will have told a Redis that came back with older tasks what they run: they have `span` ms from its
-- first answer. 0 where it came without any.
local function all_told_at(span)
  local from, till = unpack(redis.call('ZRANGE', P .. 'gaps', -1, -1, 'WITHSCORES'))
  if not from or tonumber(from) <= -MARGIN then return 0 end
  return tonumber(till) - MARGIN + span
end

local function row_key(id) return P .. 't:' .. id end

-- Changes are gathered while a batch is walked and written once, by flush().
local SEQ = nil
local leaves, enters, changed, backlog, busy, totals, tallies = {}, {}, {}, {}, {}, {}, {}
local unsent, undue, sends, dues = {}, {}, {}, {}
local waited, ran, grouped = {}, {}, {} -- runs by bucket of their waiting and running time; failed tasks by fingerprint
local failed_for = nil -- seconds that these live

local function seq()
  if not SEQ then SEQ = int(redis.call('INCR', P .. 'seq')) end
  return SEQ
end

local function list_of(lists, name)
  local list = lists[name]
  if not list then list = {}; lists[name] = list end
  return list
end

-- A score and a member for a ZADD.
local function add_pair(list, score, member)
  local n = #list
  list[n + 1] = score
  list[n + 2] = member
end

local function count(sums, name, n) sums[name] = (sums[name] or 0) + n end

-- Lengths of time in buckets, four to an octave; yadtq_histogram.py reads them. 0 holds what took less than 1 ms.
local function bucket(ms)
  if ms < 1 then return 0 end
  return math.min(120, 1 + math.floor(math.log(ms) / math.log(2) * 4))
end

local TERMINAL = {success = true, failed = true, cancelled = true, expired = true}

-- The index and counter side of one row's move; `from` is false for a new row.
local function note_move(id, queue, from, to)
  if from ~= to then
    if from then local list = list_of(leaves, from); list[#list + 1] = id end
    add_pair(list_of(enters, to), USS, id)
    if from == 'queued' then count(backlog, queue, -1) elseif to == 'queued' then count(backlog, queue, 1) end
    if from == 'processing' then count(busy, queue, -1) elseif to == 'processing' then count(busy, queue, 1) end
  end
  if TERMINAL[to] then count(totals, to, 1); count(tallies, to, 1) end
  if to == 'retrying' then count(tallies, 'retried', 1) end
  add_pair(changed, seq(), 't:' .. id)
end

local function each_chunk(list, size, call)
  for i = 1, #list, size do
    call(unpack(list, i, math.min(i + size - 1, #list)))
  end
end

local function flush_counts(name, sums)
  for field, n in pairs(sums) do
    if n ~= 0 then redis.call('HINCRBY', P .. name, field, n) end
  end
end

local function flush_buckets(key, kind, sums)
  for number, n in pairs(sums) do redis.call('HINCRBY', key, kind .. number, n) end
end

local function fold(minute, into, seconds)
  for i = 1, #minute, 2 do redis.call('HINCRBY', into, minute[i], minute[i + 1]) end
  if seconds then redis.call('EXPIRE', into, seconds) end
end

-- What is counted goes into the open minute. With the next one it is folded into its quarter of an hour, its hour and the
-- sums since the start, and begins to age; so a batch pays for one level only. A clock set back by up to an hour goes on
-- with the minute that is open; set back by more, it closes that one. A minute that comes again begins anew: it was folded.
local function flush_rates()
  if not (next(tallies) or next(waited) or next(ran)) then return end
  local start, open = math.floor(NOW / 60000) * 60, tonumber(redis.call('GET', P .. 'open_minute') or 0)
  if start > open or open > start + 3600 then
    if open > 0 then
      local minute = redis.call('HGETALL', P .. 'minute:' .. int(open))
      fold(minute, P .. 'quarter:' .. int(open - open % 900), 90000) -- 25 hours
      fold(minute, P .. 'hour:' .. int(open - open % 3600), 691200) -- 8 days
      fold(minute, P .. 'ever')
      redis.call('EXPIRE', P .. 'minute:' .. int(open), 90000)
    end
    open = start
    redis.call('SET', P .. 'open_minute', int(open))
    redis.call('DEL', P .. 'minute:' .. int(open))
  end
  local name = 'minute:' .. int(open)
  flush_counts(name, tallies)
  flush_buckets(P .. name, 'w', waited)
  flush_buckets(P .. name, 'r', ran)
end

-- A group of failures is ranked by its newest one, and by its size; an empty one vanishes. Many have the same size, and
-- then the newest one decides here too, to the second: a page could not tell thousands of equals apart.
local function rank_group(fp)
  local key = P .. 'group:' .. fp
  local newest = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')
  if newest[2] then
    redis.call('ZADD', P .. 'groups', newest[2], fp)
    redis.call('ZADD', P .. 'sizes', int(redis.call('ZCARD', key) * 2^33 + math.floor(newest[2] / 1000000)), fp)
  else
    redis.call('ZREM', P .. 'groups', fp)
    redis.call('ZREM', P .. 'sizes', fp)
  end
end

local function flush()
  for status, ids in pairs(leaves) do
    each_chunk(ids, 1000, function(...) redis.call('ZREM', P .. 'index:' .. status, ...) end)
  end
  for status, pairs_ in pairs(enters) do
    each_chunk(pairs_, 1000, function(...) redis.call('ZADD', P .. 'index:' .. status, ...) end)
    if status == 'all' or (TERMINAL[status] and status ~= 'failed') then
      redis.call('ZREMRANGEBYRANK', P .. 'index:' .. status, 0, -KEPT - 1)
    end
  end
  each_chunk(unsent, 1000, function(...) redis.call('ZREM', P .. 'outbox', ...) end)
  each_chunk(undue, 1000, function(...) redis.call('ZREM', P .. 'due', ...) end)
  each_chunk(sends, 1000, function(...) redis.call('ZADD', P .. 'outbox', ...) end)
  each_chunk(dues, 1000, function(...) redis.call('ZADD', P .. 'due', ...) end)
  flush_counts('backlog', backlog)
  flush_counts('busy', busy)
  flush_counts('totals', totals)
  flush_rates()
  for fp, pairs_ in pairs(grouped) do
    each_chunk(pairs_, 1000, function(...) redis.call('ZADD', P .. 'group:' .. fp, ...) end)
    -- Behind a thousand others, trim_failed never comes to a group that is busy.
    redis.call('ZREMRANGEBYSCORE', P .. 'group:' .. fp, '-inf', int(US - failed_for * 1000000))
    rank_group(fp)
  end
  if #changed > 0 then
    each_chunk(changed, 1000, function(...) redis.call('ZADD', P .. 'upd', ...) end)
    redis.call('ZREMRANGEBYRANK', P .. 'upd', 0, -KEPT - 1)
  end
end

local function note_worker(inc)
  add_pair(changed, seq(), 'w:' .. inc)
end

-- What belongs to an ended task lives as long as its row.
local function expire_task(id, seconds)
  local hash = redis.call('HGET', row_key(id), 'key')
  if hash then redis.call('EXPIRE', P .. 'key:' .. hash, seconds) end
  redis.call('EXPIRE', row_key(id), seconds)
  redis.call('EXPIRE', P .. 'envelope:' .. id, seconds)
  redis.call('EXPIRE', P .. 'history:' .. id, seconds)
  redis.call('EXPIRE', P .. 'report:' .. id, seconds)
end

-- What a run tells of itself, each time whole; beside it what the run before told last.
local function write_report(id, token, report)
  local key = P .. 'report:' .. id
  local r = redis.call('HMGET', key, 'token', 'now')
  if r[1] and r[1] ~= token then redis.call('HSET', key, 'before', r[2]) end
  redis.call('HSET', key, 'token', token, 'now', report)
  redis.call('HSET', row_key(id), 'reported', 1)
end

-- A task that ends without success: its envelope stays for a retry by a person.
local function end_without_result(id, queue, from, to, seconds, ...)
  redis.call('HSET', row_key(id), 'status', to, 'changed', NOWS, 'seq', seq(), ...)
  redis.call('HDEL', row_key(id), 'due')
  expire_task(id, seconds)
  if from == 'scheduled' or from == 'retrying' or from == 'queued' then
    undue[#undue + 1] = id
    unsent[#unsent + 1] = id
  end
  note_move(id, queue, from, to)
  redis.call('PUBLISH', P .. 'done:' .. id, to)
end

-- A task that ends as failed; it joins those that failed alike. Where the worker gives no fingerprint, its reason is one,
-- or the error where that is one of our own sentences.
local function fail(id, queue, from, seconds, reason, error, fp, ...)
  if fp == '' then
    local alike = reason == 'error' and error or reason
    fp = string.sub(redis.sha1hex(redis.call('HGET', row_key(id), 'name') .. '\n' .. alike), 1, 12)
  end
  failed_for = seconds
  add_pair(list_of(grouped, fp), USS, id)
  end_without_result(id, queue, from, 'failed', seconds, 'reason', reason, 'error', error, 'fp', fp, ...)
end

-- A failed task goes on or is deleted.
local function leave_group(id)
  local fp = redis.call('HGET', row_key(id), 'fp')
  if not fp then return end
  redis.call('HDEL', row_key(id), 'fp')
  redis.call('ZREM', P .. 'group:' .. fp, id)
  rank_group(fp)
end

-- Failed tasks past their time to live leave the index and their groups; of the groups, those that have been quiet longest
-- first. What a call leaves, a later one takes: groups whose newest failure is past its time first.
local function trim_failed(seconds)
  local old = int(US - seconds * 1000000)
  local left = redis.call('ZREMRANGEBYSCORE', P .. 'index:failed', '-inf', old) > 0
  if not left and redis.call('ZCOUNT', P .. 'groups', '-inf', old) == 0 then return end
  for _, fp in ipairs(redis.call('ZRANGE', P .. 'groups', 0, 999)) do
    if redis.call('ZREMRANGEBYSCORE', P .. 'group:' .. fp, '-inf', old) > 0 then rank_group(fp) end
  end
end

-- Into the outbox as a new publication, to be sent by the next sweep; a higher gen clears the coordinates.
local function republish(id, queue, from, gen, ...)
  redis.call('HSET', row_key(id), 'status', 'queued', 'gen', gen, 'changed', NOWS, 'seq', seq(), ...)
  redis.call('HDEL', row_key(id), 'part', 'offset', 'token', 'due')
  add_pair(sends, NOWS, id)
  note_move(id, queue, from, 'queued')
end

-- A failed, cancelled or expired task begins anew, from its first attempt and without an end to its row.
local function start_over(id)
  leave_group(id)
  redis.call('PERSIST', row_key(id))
  redis.call('PERSIST', P .. 'envelope:' .. id)
  redis.call('PERSIST', P .. 'history:' .. id)
  redis.call('PERSIST', P .. 'report:' .. id)
  local hash = redis.call('HGET', row_key(id), 'key')
  if hash then redis.call('PERSIST', P .. 'key:' .. hash) end
  redis.call('HDEL', row_key(id), 'cancel', 'expires', 'reason', 'error', 'handbacks')
  redis.call('HSET', row_key(id), 'attempt', 0, 'lost', 0, 'retried', NOWS, 'changed', NOWS)
end

local function add_history(id, entry)
  redis.call('RPUSH', P .. 'history:' .. id, entry)
  redis.call('LTRIM', P .. 'history:' .. id, -50, -1)
  redis.call('HSET', row_key(id), 'noted', 1)
end

-- What a person did to a task.
local function note_action(id, action, who)
  add_history(id, cjson.encode({action = action, by = who, at = NOW}))
end

-- A processing row goes back to the queue, no attempt counted; `fields` are written beside. The run has lost it, and what it
-- ends with comes too late.
local function give_back(id, row, ttl, ...)
  redis.call('SREM', P .. 'run:' .. row.inc, id)
  if row.cancel then
    redis.call('HDEL', row_key(id), 'token')
    end_without_result(id, row.queue, 'processing', 'cancelled', ttl, ...)
  else
    republish(id, row.queue, 'processing', row.gen + 1, 'attempt', math.max(0, row.attempt - 1), ...)
    local expires = redis.call('HGET', row_key(id), 'expires')
    if expires then add_pair(dues, expires, id) end
  end
end

-- A run that died with its process: queued again, and failed after the third death.
local function survive(id, row, lost, failed_ttl, tombstone_ttl, error)
  if lost >= 3 and not row.cancel then
    redis.call('HDEL', row_key(id), 'token')
    fail(id, row.queue, 'processing', failed_ttl, 'worker_lost', error, '', 'lost', lost)
  else
    give_back(id, row, tombstone_ttl, 'lost', lost)
  end
end

local function inc_of(token) return token and string.match(token, '^(.*):%d+$') or '' end

local function read_running(id)
  local r = redis.call('HMGET', row_key(id), 'status', 'token', 'gen', 'queue', 'cancel', 'attempt', 'started', 'lost', 'worker')
  return {
    status = r[1], token = r[2], gen = tonumber(r[3]), queue = r[4], cancel = r[5],
    attempt = tonumber(r[6] or 0), started = tonumber(r[7] or 0), lost = tonumber(r[8] or 0),
    worker = r[9] or '', inc = inc_of(r[2]),
  }
end
