-- A person deletes tasks: a waiting one is cancelled first, a running one is only asked to stop. What is left of a deleted
-- task is a tombstone that no list shows, so that its record, or a second one, finds that it is over.
-- ARGV: tombstone ttl s, who, then ids
-- Reply: per task 'deleted', 'stopping' for a running one, or '' when there is no such task
local ttl, who = ARGV[1], ARGV[2]
local gone = {}

local function bury(id, status)
  local key = row_key(id)
  leave_group(id)
  local hash = redis.call('HGET', key, 'key')
  if hash then redis.call('DEL', P .. 'key:' .. hash) end
  redis.call('DEL', P .. 'envelope:' .. id, P .. 'result:' .. id, P .. 'history:' .. id, P .. 'report:' .. id)
  redis.call('HDEL', key, 'result', 'args', 'preview', 'error', 'reason', 'worker', 'expires', 'cancel', 'noted', 'reported', 'key')
  redis.call('HSET', key, 'deleted', NOWS, 'seq', seq())
  redis.call('EXPIRE', key, ttl)
  add_pair(changed, seq(), 't:' .. id)
  for _, list in ipairs({status, 'all'}) do list = list_of(gone, list); list[#list + 1] = id end
end

local function delete(id)
  local r = redis.call('HMGET', row_key(id), 'status', 'queue', 'cancel', 'deleted')
  local status = r[1]
  if not status then return '' end
  if r[4] then return 'deleted' end
  if status == 'processing' then
    if r[3] then return 'stopping' end
    note_action(id, 'cancel', who)
    redis.call('HSET', row_key(id), 'cancel', NOWS, 'seq', seq())
    note_move(id, r[2], status, status)
    return 'stopping'
  end
  if not TERMINAL[status] then
    end_without_result(id, r[2], status, 'cancelled', ttl)
    status = 'cancelled'
  end
  bury(id, status)
  return 'deleted'
end

local out = {ERA, NOW}
for i = 3, #ARGV do out[#out + 1] = delete(ARGV[i]) end
flush()
for status, ids in pairs(gone) do -- last: flush has just put the cancelled ones in
  each_chunk(ids, 1000, function(...) redis.call('ZREM', P .. 'index:' .. status, ...) end)
end
return out
