-- What running tasks tell of themselves. A run that no longer holds its row writes nothing.
-- ARGV: per run: id, token, report (JSON)
-- Reply: per run OK or FENCED
local out = {ERA, NOW}
for i = 1, #ARGV, 3 do
  local id, token = ARGV[i], ARGV[i + 1]
  local r = redis.call('HMGET', row_key(id), 'status', 'token')
  if r[1] == 'processing' and r[2] == token then
    write_report(id, token, ARGV[i + 2])
    redis.call('HSET', row_key(id), 'seq', seq())
    add_pair(changed, seq(), 't:' .. id)
    out[#out + 1] = 'OK'
  else
    out[#out + 1] = 'FENCED'
  end
end
flush()
return out
