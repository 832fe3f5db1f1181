-- A person retries failed, cancelled or expired tasks: queued again, from their first attempt, history kept.
-- ARGV: who, when it was asked (ms, Redis time), then per task: id, envelope ('' = the one in Redis)
-- Reply: per task the status found, '' when there is no such task; after 'queued' nothing more is needed, also where this is the
--        repeat of a call that was obeyed. What has otherwise ended since it was asked is left alone.
--        Or `NOENVELOPE <queue> <gen> <partition> <offset>` of the record to read it from
local who, asked_at = ARGV[1], tonumber(ARGV[2])

-- Whether this moment lies between the asking and now. What is later was noted before the clock was set back.
local function since_asked(at) return at and tonumber(at) >= asked_at and tonumber(at) <= NOW end

local function retry(id, given)
  local r = redis.call('HMGET', row_key(id), 'status', 'queue', 'gen', 'part', 'offset', 'deleted', 'changed', 'retried')
  local status, changed = r[1], tonumber(r[7])
  if not status or r[6] then return '' end
  if since_asked(r[8]) then return 'queued' end
  if status ~= 'failed' and status ~= 'cancelled' and status ~= 'expired' then return status end
  if changed ~= asked_at and since_asked(changed) then return status end
  local envelope = P .. 'envelope:' .. id
  if given ~= '' then redis.call('SET', envelope, given) end
  if redis.call('EXISTS', envelope) == 0 then
    return table.concat({'NOENVELOPE', r[2], r[3], r[4] or '', r[5] or ''}, ' ')
  end
  note_action(id, 'retry', who)
  start_over(id)
  republish(id, r[2], status, tonumber(r[3]) + 1)
  return 'queued'
end

local out = {ERA, NOW}
for i = 3, #ARGV, 2 do out[#out + 1] = retry(ARGV[i], ARGV[i + 1]) end
flush()
return out
