-- Write down how runs ended. Only the run that holds the row may end it; a lost reply is answered by sending the same again.
-- ARGV: incarnation, result ttl s, failed ttl s, tombstone ttl s, most bytes of an envelope kept after success, hand-back unit ms,
--       how many reports follow, per report: token, what the run told last (JSON);
--       then per run: id, token, kind (success|retry|failed|handback|cancelled|lost), result or error in short, result in full
--       or '' (of a failure: its fingerprint), reason, delay ms, history entry or ''
-- Reply: per run OK or FENCED
local inc = ARGV[1]
local out, ended = {ERA, NOW}, {}
local first, reports = 8 + 2 * ARGV[7], {} -- few runs tell anything, and only those pay for it
for i = 8, first - 1, 2 do reports[ARGV[i]] = ARGV[i + 1] end
local fenced = 0

local function succeed(id, key, row, short, whole)
  redis.call('HSET', key, 'status', 'success', 'changed', NOWS, 'seq', seq(), 'result', short)
  redis.call('EXPIRE', key, ARGV[2])
  if whole ~= '' then redis.call('SET', P .. 'result:' .. id, whole, 'EX', ARGV[2]) end
  local envelope = P .. 'envelope:' .. id
  if row.args or redis.call('STRLEN', envelope) > tonumber(ARGV[5]) then
    redis.call('DEL', envelope)
  else
    redis.call('EXPIRE', envelope, ARGV[2])
  end
  if row.reported then redis.call('EXPIRE', P .. 'report:' .. id, ARGV[2]) end
  if row.noted then redis.call('EXPIRE', P .. 'history:' .. id, ARGV[2]) end
  if row.hash then redis.call('EXPIRE', P .. 'key:' .. row.hash, ARGV[2]) end
  note_move(id, row.queue, 'processing', 'success')
  redis.call('PUBLISH', P .. 'done:' .. id, 'success')
end

local function wait_for_retry(id, key, row, delay, ...)
  local at = int(NOW + delay)
  redis.call('HSET', key, 'status', 'retrying', 'gen', row.gen + 1, 'changed', NOWS, 'due', at, 'seq', seq(), ...)
  redis.call('HDEL', key, 'part', 'offset')
  add_pair(dues, at, id)
  note_move(id, row.queue, 'processing', 'retrying')
end

local function hand_back(id, key, row, error, handbacks)
  if handbacks >= 6 then
    fail(id, row.queue, 'processing', ARGV[3], 'unknown_task', error, '', 'attempt', row.attempt - 1)
  else
    wait_for_retry(id, key, row, ARGV[6] * 2 ^ handbacks, 'handbacks', handbacks + 1, 'attempt', row.attempt - 1, 'error', error)
  end
end

local function finish(id, token, kind, short, whole, reason, delay, entry)
  local key = row_key(id)
  local r = redis.call('HMGET', key, 'status', 'token', 'gen', 'queue', 'cancel', 'attempt', 'args', 'noted', 'handbacks', 'started', 'lost', 'changed', 'reported', 'key')
  if r[2] ~= token then return 'FENCED' end
  if r[1] ~= 'processing' then return 'OK' end -- the same outcome again, after a lost reply
  local row = {gen = tonumber(r[3]), queue = r[4], attempt = tonumber(r[6] or 1), args = r[7], noted = r[8], lost = r[11], hash = r[14], inc = inc}
  if reports[token] then write_report(id, token, reports[token]) end
  row.reported = r[13] or reports[token]
  ended[#ended + 1] = id
  if kind ~= 'handback' then
    count(waited, bucket(r[10] - r[12]), 1)
    count(ran, bucket(NOW - r[10]), 1)
  end
  if entry ~= '' then add_history(id, entry) end
  if kind == 'success' then
    succeed(id, key, row, short, whole)
  elseif kind == 'cancelled' or (r[5] and kind ~= 'failed') then
    end_without_result(id, row.queue, 'processing', 'cancelled', ARGV[4])
  elseif kind == 'retry' then
    wait_for_retry(id, key, row, tonumber(delay), 'error', short)
  elseif kind == 'handback' then
    hand_back(id, key, row, short, tonumber(r[9] or 0))
  elseif kind == 'lost' then
    survive(id, row, tonumber(row.lost or 0) + 1, ARGV[3], ARGV[4], 'three runs died; the last: ' .. short)
    redis.call('HSET', key, 'token', token) -- kept, so that the same outcome is known when it comes again
  else
    fail(id, row.queue, 'processing', ARGV[3], reason, short, whole)
  end
  return 'OK'
end

for i = first, #ARGV, 8 do
  local code = finish(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], ARGV[i + 6], ARGV[i + 7])
  if code == 'FENCED' then fenced = fenced + 1 end
  out[#out + 1] = code
end
if fenced > 0 then count(totals, 'fenced', fenced); count(tallies, 'fenced', fenced) end
each_chunk(ended, 1000, function(...) redis.call('SREM', P .. 'run:' .. inc, ...) end)
local suspect = #ended > 0 and redis.call('HGET', P .. 'worker:' .. inc, 'suspect')
if suspect and redis.call('SISMEMBER', P .. 'run:' .. inc, suspect) == 0 then redis.call('HDEL', P .. 'worker:' .. inc, 'suspect') end
if totals.failed then trim_failed(ARGV[3]) end
flush()
return out
