-- One stretch of an index, or of several joined by score, with values of each task's row. Changes nothing.
-- ARGV: 'down' or 'up', lowest and highest score, score and id of the entry to go on behind ('' = from the end), how many
--       entries, how many indexes, their names, how many fields, their names (none: rows are not read), then rows that
--       need not be told again: their values with a zero byte between
-- Reply: how many entries were looked at, 1 where none is left, score and id of the last one; then per entry that is told
--        its number, score, id and values
local down, low, high, count = ARGV[1] == 'down', ARGV[2], ARGV[3], tonumber(ARGV[6])
local place, place_id = ARGV[4] ~= '' and ARGV[4], ARGV[5]
local at = 7
local function take(n)
  local list = {unpack(ARGV, at, at + n - 1)}
  at = at + n
  return list
end
local indexes = take(take(1)[1])
local fields = take(take(1)[1])
local known = {}
for i = at, #ARGV do known[ARGV[i]] = true end

-- The order of an index, byte by byte: Lua's own goes by the server's locale.
local function below(score, id, other_score, other)
  if score ~= other_score then return score < other_score end
  for i = 1, math.min(#id, #other) do
    local x, y = string.byte(id, i), string.byte(other, i)
    if x ~= y then return x < y end
  end
  return #id < #other
end
local function after(score, id, other_score, other)
  if down then return below(score, id, other_score, other) end
  return below(other_score, other, score, id)
end

if place then if down then high = place else low = place end end

-- Ids and scores by turns: one more than asked for, which tells whether there are more. What has the place's score may
-- have been met.
local function stretch(index)
  local found, n, offset = {}, 0, 0
  repeat
    local page = {'LIMIT', offset, count + 1, 'WITHSCORES'}
    local rows = down and redis.call('ZRANGE', P .. index, high, low, 'BYSCORE', 'REV', unpack(page))
      or redis.call('ZRANGE', P .. index, low, high, 'BYSCORE', unpack(page))
    for i = 1, #rows, 2 do
      if n > 0 or not place or after(tonumber(rows[i + 1]), rows[i], tonumber(place), place_id) then
        found[n + 1], found[n + 2] = rows[i], rows[i + 1]
        n = n + 2
      end
    end
    offset = offset + count + 1
  until n > 2 * count or #rows < 2 * (count + 1)
  return found
end

local function joined()
  local entries = {}
  for _, index in ipairs(indexes) do
    local found = stretch(index)
    for i = 1, #found, 2 do entries[#entries + 1] = {tonumber(found[i + 1]), found[i]} end
  end
  table.sort(entries, function(a, b) return after(b[1], b[2], a[1], a[2]) end)
  local flat = {}
  for i, entry in ipairs(entries) do flat[2 * i - 1], flat[2 * i] = entry[2], entry[1] end
  return flat
end

local rows = #indexes == 1 and stretch(indexes[1]) or joined()
local looked = math.min(#rows / 2, count)
local out = {ERA, NOW, looked, #rows <= 2 * count and 1 or 0, tonumber(rows[2 * looked] or 0), rows[2 * looked - 1] or ''}
for i = 1, looked do
  local id, values = rows[2 * i - 1], {}
  if #fields > 0 then
    values = redis.call('HMGET', P .. 't:' .. id, unpack(fields))
    for f = 1, #fields do values[f] = values[f] or '' end
  end
  if not known[table.concat(values, '\0')] then
    local n = #out
    out[n + 1], out[n + 2], out[n + 3], out[n + 4] = i, tonumber(rows[2 * i]), id, values
  end
end
return out
