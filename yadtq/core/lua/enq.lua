-- Accept tasks: row, envelope, and outbox or due entry, all or nothing per task. Repeating it changes nothing.
-- ARGV: check delay ms, fingerprint of the signing key (',' around it), then per task: id, name, queue, delay ms, expires ms (after now, '' = never),
--       envelope, args JSON ('' if over 64 B), preview, key hash ('' = none)
-- Reply: per task its id, or the id that already has this key
local out = {ERA, NOW}
-- What the workers would reject is refused here: it could never end.
local signing = redis.call('GET', P .. 'signing')
if signing and not string.find(signing, ARGV[2], 1, true) then return {ERA, NOW, 'UNSIGNED'} end
local CHECK = int(NOW + tonumber(ARGV[1]))
for i = 3, #ARGV, 9 do
  local id, name, queue, delay = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  local hash = ARGV[i + 8]
  local key = hash ~= '' and P .. 'key:' .. hash
  local known = key and redis.call('GET', key)
  local earlier = known and redis.call('HMGET', row_key(known), 'status', 'deleted')
  if earlier and earlier[1] and not earlier[2] then
    out[#out + 1] = known
  else
    out[#out + 1] = id
    if redis.call('EXISTS', row_key(id)) == 0 then
      local status = delay > 0 and 'scheduled' or 'queued'
      local fields = {'status', status, 'name', name, 'queue', queue, 'gen', 1, 'submitted', NOWS, 'changed', NOWS, 'seq', seq()}
      local expires = ARGV[i + 4] ~= '' and int(NOW + tonumber(ARGV[i + 4]))
      local function add(field, value) fields[#fields + 1] = field; fields[#fields + 1] = value end
      if expires then add('expires', expires) end
      if ARGV[i + 6] ~= '' then add('args', ARGV[i + 6]) else add('preview', ARGV[i + 7]) end
      if delay > 0 then
        add('due', int(NOW + delay))
        add_pair(dues, int(NOW + delay), id)
      else
        add_pair(sends, CHECK, id)
        if expires then add_pair(dues, expires, id) end
      end
      if key then
        add('key', hash)
        redis.call('SET', key, id)
      end
      redis.call('HSET', row_key(id), unpack(fields))
      redis.call('SET', P .. 'envelope:' .. id, ARGV[i + 5])
      note_move(id, queue, false, status)
      add_pair(list_of(enters, 'all'), USS, id)
    end
  end
end
-- Nothing new: a write that changes nothing, so that a client which waits for the disk waits for the earlier call, too.
if not SEQ then redis.call('INCRBY', P .. 'seq', 0) end
flush()
return out
