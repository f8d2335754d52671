-- The first lines of every script that works on a shard. Nothing here reads the server's clock or makes up a
-- key name, so the scripts run on a cluster and are the same on every server.
local values, records, priorities, expiries, tags, totals = unpack(KEYS)
local now = tonumber(ARGV[1])
local RECORD = '>dddI4' -- expiry (0 for never), weight, hits, length of the value; then 16 bytes for each tag
local removals = 256 -- how many records one call may remove, so that no call holds up the server

local function exact(number) -- Lua's own tostring keeps 14 digits
  return string.format('%.17g', number)
end

local function fields(record) -- expiry, weight, hits and size; nothing of what somebody else has damaged
  if record and #record >= 28 then
    local expiry, weight, hits, size = struct.unpack(RECORD, record)
    if expiry == expiry and weight == weight and hits == hits then return expiry, weight, hits, size end
  end
  return 0, 0, 0, 0
end

-- A server with a maxmemory-policy of allkeys-* may have dropped one of the shard's keys: start the shard anew.
local held, written = redis.call('HLEN', values), redis.call('HGET', totals, 'size_bytes')
written = written and tonumber(written)
if redis.call('HLEN', records) ~= held or redis.call('ZCARD', priorities) ~= held or (held > 0 and not written) then
  redis.call('DEL', unpack(KEYS))
  held, written = 0, nil
end
local bytes = written or 0

local function save_bytes() -- at the end of each script that adds or removes records
  if bytes ~= written and (written or held > 0) then
    redis.call('HSET', totals, 'size_bytes', string.format('%d', bytes))
  end
end

local function remove(key) -- true if there was a record that had not expired
  local record = redis.call('HGET', records, key)
  if not record then return false end
  local expiry, _, _, size = fields(record)
  redis.call('HDEL', values, key)
  redis.call('HDEL', records, key)
  redis.call('ZREM', priorities, key)
  if expiry ~= 0 then redis.call('ZREM', expiries, key) end
  for at = 29, #record, 16 do
    redis.call('ZREM', tags, string.sub(record, at, at + 15) .. key)
  end
  held, bytes = held - 1, bytes - size
  return expiry == 0 or expiry > now
end

local function remove_expired(most) -- the number removed
  local expired = redis.call('ZRANGEBYSCORE', expiries, '-inf', ARGV[1], 'LIMIT', 0, most)
  for _, key in ipairs(expired) do remove(key) end
  return #expired
end

local inflated -- read when it is first needed
local function inflation()
  inflated = inflated or tonumber(redis.call('HGET', totals, 'inflation') or '0')
  return inflated
end

local function inflate(to)
  inflated = to
  redis.call('HSET', totals, 'inflation', exact(to))
end

local function base(how, expiry) -- how: 'inflation', 'expiry', or the base itself
  if how == 'inflation' then return inflation() end
  if how ~= 'expiry' then return tonumber(how) end
  return expiry == 0 and 1e15 or expiry
end

-- Removes what has expired, then the lowest priorities, until `entries` and `size` more fit.
-- Returns the number evicted, and whether they fit now (if not, the client calls again).
local function make_room(entries, size, max_entries, max_bytes, inflates)
  local evicted = 0
  while held > 0 and (held + entries > max_entries or bytes + size > max_bytes) do
    if removals <= 0 then return evicted, false end
    local removed = remove_expired(1)
    if removed == 0 then
      local lowest = redis.call('ZRANGE', priorities, 0, 0, 'WITHSCORES')
      if inflates and tonumber(lowest[2]) > inflation() then inflate(tonumber(lowest[2])) end
      remove(lowest[1])
      evicted, removed = evicted + 1, 1
    end
    removals = removals - removed
  end
  return evicted, true
end
