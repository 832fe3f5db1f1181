-- Since when the longest waiting task of each queue has waited, among the tasks that have waited longest. Changes nothing.
-- ARGV: how many tasks are looked at
-- Reply: the moment (µs) of the last one looked at where more wait, else ''; then per queue its name and its oldest moment (µs)
local rows = redis.call('ZRANGE', P .. 'index:queued', 0, ARGV[1] - 1, 'WITHSCORES')
local out, seen = {ERA, NOW, #rows >= 2 * ARGV[1] and rows[#rows] or ''}, {}
for i = 1, #rows, 2 do
  local queue = redis.call('HGET', row_key(rows[i]), 'queue')
  if queue and not seen[queue] then
    seen[queue] = true
    out[#out + 1] = queue
    out[#out + 1] = rows[i + 1]
  end
end
return out
