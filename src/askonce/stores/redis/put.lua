-- ARGV: now, base, max_entries, max_bytes, admission, then for each record: key, packed value, expiry, weight,
-- hits, tag digests.
-- Returns how many were evicted, and how many of the records are done; the client sends the others again.
local max_entries, max_bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local evicted, done = 0, 0
local inflates, selects = ARGV[2] == 'inflation', ARGV[5] == 'cost'

-- Whether a newcomer has no higher priority than one that it would evict; that raises the inflation.
-- Also whether this is certain: if not, too much has expired to sweep in one call, and the client calls again.
local function refuses(gain, expiry, size)
  local judged = gain -- being new does not count
  if inflates or ARGV[2] == 'expiry' then judged = base(ARGV[2], expiry) + gain end
  while held + 1 > max_entries or bytes + size > max_bytes do
    if removals <= 0 then return false, false end
    if remove_expired(1) == 0 then break end
    removals = removals - 1
  end
  local then_held, then_bytes, rank = held + 1, bytes + size, 0
  while (then_held > max_entries or then_bytes > max_bytes) and rank < held do
    local lowest = redis.call('ZRANGE', priorities, rank, rank + 15, 'WITHSCORES')
    for at = 1, #lowest, 2 do
      if tonumber(lowest[at + 1]) >= judged then
        if inflates then inflate(inflation() + gain / held) end
        return true, true
      end
      local _, _, _, freed = fields(redis.call('HGET', records, lowest[at]))
      then_held, then_bytes = then_held - 1, then_bytes - freed
      if then_held <= max_entries and then_bytes <= max_bytes then break end
    end
    rank = rank + 16
  end
  return false, true
end

removals = removals - remove_expired(64)
for at = 6, #ARGV, 6 do
  local key, value, digests = ARGV[at], ARGV[at + 1], ARGV[at + 5]
  local expiry, weight, hits = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local size = #value - 8
  local refused, certain = false, true
  remove(key)
  if selects and size <= max_bytes then refused, certain = refuses(hits * weight, expiry, size) end
  if not certain then break end
  if refused then
    evicted = evicted + 1
  elseif size <= max_bytes then
    local removed, fits = make_room(1, size, max_entries, max_bytes, inflates)
    evicted = evicted + removed
    if not fits then break end
    if expiry == 0 or expiry > now then
      redis.call('HSET', values, key, value)
      redis.call('HSET', records, key, struct.pack(RECORD, expiry, weight, hits, size) .. digests)
      redis.call('ZADD', priorities, exact(base(ARGV[2], expiry) + hits * weight), key)
      if expiry ~= 0 then redis.call('ZADD', expiries, exact(expiry), key) end
      for start = 1, #digests, 16 do
        redis.call('ZADD', tags, 0, string.sub(digests, start, start + 15) .. key)
      end
      held, bytes = held + 1, bytes + size
    end
  end
  done = done + 1
end
save_bytes()
return {evicted, done}
