-- One incarnation is alive. An unknown one that is not among the dead is registered.
-- ARGV: incarnation, largest gap ms of an unbroken series, age ms after which an unheld task is released, tombstone ttl s,
--       what the worker says of itself once (JSON, '' = unchanged), what changes with each beat (JSON),
--       fingerprints of the signing keys it knows (',' around each; '' = it takes unsigned tasks), the number of the last
--       command that it has obeyed, age ms after which a command is forgotten, the era in which the following is known to be
--       all, then the tokens it holds
-- Reply: FENCED, or OK, {command, its number, …} of those to obey, then the ids with a cancel request
local inc = ARGV[1]
if redis.call('ZSCORE', P .. 'dead', inc) then return {ERA, NOW, 'FENCED'} end
local key = P .. 'worker:' .. inc
local last, series = unpack(redis.call('HMGET', key, 'beat', 'series'))
last, series = tonumber(last or 0), tonumber(series or NOW)
-- A clock that was set back says nothing of the time between two beats; and a series does not begin in the future.
if math.abs(NOW - last) > tonumber(ARGV[2]) or series > NOW then redis.call('HSET', key, 'series', NOW) end
redis.call('HSET', key, 'beat', NOW, 'state', ARGV[6])
if ARGV[5] ~= '' then redis.call('HSET', key, 'about', ARGV[5]) end
redis.call('EXPIRE', key, 3600)
if ARGV[7] ~= '' then redis.call('SET', P .. 'signing', ARGV[7], 'EX', 3600) else redis.call('DEL', P .. 'signing') end
redis.call('ZADD', P .. 'workers', NOW, inc)

local asked = P .. 'control:' .. inc
redis.call('ZREMRANGEBYSCORE', asked, '-inf', ARGV[8])
redis.call('ZREMRANGEBYSCORE', asked, '-inf', '(' .. int((NOW - ARGV[9]) * 1000))
local held = {}
for i = 11, #ARGV do held[ARGV[i]] = true end
local out = {ERA, NOW, 'OK', redis.call('ZRANGE', asked, 0, -1, 'WITHSCORES')}
for _, id in ipairs(redis.call('SMEMBERS', P .. 'run:' .. inc)) do
  local row = read_running(id)
  if row.status ~= 'processing' or row.inc ~= inc then
    redis.call('SREM', P .. 'run:' .. inc, id)
  elseif not held[row.token] then
    -- In another era it does not know yet that this Redis has forgotten how the run ended, and will tell it again.
    if ARGV[10] == ERA and NOW - row.started > tonumber(ARGV[3]) then give_back(id, row, ARGV[4]) end
  elseif row.cancel then
    out[#out + 1] = id
  end
end
note_worker(inc)
flush()
return out
