-- A person cancels tasks: a waiting one ends now, a running one is asked to stop.
-- ARGV: when it was asked (ms, Redis time), tombstone ttl s, who, then ids
-- Reply: per task the status afterwards, 'stopping' for a running one, or '' when there is no such task
local asked_at, who = ARGV[1], ARGV[3]

local function cancel(id)
  local r = redis.call('HMGET', row_key(id), 'status', 'queue', 'retried', 'cancel', 'deleted')
  local status = r[1]
  if not status or r[5] then return '' end
  if TERMINAL[status] then return status end
  -- A retry has overtaken it; but one later than now was noted before the clock was set back.
  if r[3] and tonumber(asked_at) < tonumber(r[3]) and tonumber(r[3]) <= NOW then return status end
  if not r[4] then note_action(id, 'cancel', who) end
  if status ~= 'processing' then
    end_without_result(id, r[2], status, 'cancelled', ARGV[2])
    return 'cancelled'
  end
  redis.call('HSET', row_key(id), 'cancel', asked_at, 'seq', seq())
  note_move(id, r[2], status, status)
  return 'stopping'
end

local out = {ERA, NOW}
for i = 4, #ARGV do out[#out + 1] = cancel(ARGV[i]) end
flush()
return out
