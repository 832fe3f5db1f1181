-- Rows that Redis has lost, made again from their records. The caller claims them at once; should it die before that, and the
-- record be committed already because it ran long, the outbox entry brings the task back.
-- ARGV: check delay ms, failed ttl s, then per record: id, gen, name, queue, record time ms, expires ms (absolute, ''), envelope, args JSON or '', preview
local out = {ERA, NOW}

-- It may have ended here before, and its row's time be over: the indexes may still list it.
local function leave_ended(id)
  for _, status in ipairs({'success', 'cancelled', 'expired'}) do
    local list = list_of(leaves, status)
    list[#list + 1] = id
  end
end

trim_failed(ARGV[2])
for i = 3, #ARGV, 9 do
  local id, queue = ARGV[i], ARGV[i + 3]
  if redis.call('EXISTS', row_key(id)) == 0 then
    redis.call('HSET', row_key(id), 'status', 'queued', 'name', ARGV[i + 2], 'queue', queue, 'gen', ARGV[i + 1],
      'submitted', ARGV[i + 4], 'changed', NOWS, 'seq', seq(), 'rebuilt', 1)
    if ARGV[i + 5] ~= '' then redis.call('HSET', row_key(id), 'expires', ARGV[i + 5]) end
    if ARGV[i + 7] ~= '' then redis.call('HSET', row_key(id), 'args', ARGV[i + 7]) else redis.call('HSET', row_key(id), 'preview', ARGV[i + 8]) end
    redis.call('SET', P .. 'envelope:' .. id, ARGV[i + 6])
    add_pair(sends, int(NOW + tonumber(ARGV[1])), id)
    leave_ended(id)
    note_move(id, queue, false, 'queued')
    add_pair(list_of(enters, 'all'), USS, id)
    count(totals, 'rebuilt', 1)
    count(tallies, 'rebuilt', 1)
  end
end
flush()
return out
