-- ARGV: now, base, max_entries, max_bytes, then for each record: key, packed value, expiry, weight, tag digests.
-- Returns how many were evicted, and how many of the records are done; the client sends the others again.
local max_entries, max_bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local evicted, done = 0, 0
removals = removals - remove_expired(64)
for at = 5, #ARGV, 5 do
  local key, value, digests = ARGV[at], ARGV[at + 1], ARGV[at + 4]
  local expiry, weight = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local size = #value - 8
  remove(key)
  if size <= max_bytes then
    local gone, fits = make_room(1, size, max_entries, max_bytes, ARGV[2] == 'inflation')
    evicted = evicted + gone
    if not fits then break end
    if expiry == 0 or expiry > now then
      redis.call('HSET', values, key, value)
      redis.call('HSET', records, key, struct.pack(RECORD, expiry, weight, 1, size) .. digests)
      redis.call('ZADD', priorities, exact(base(ARGV[2], expiry) + weight), key)
      if expiry ~= 0 then redis.call('ZADD', expiries, exact(expiry), key) end
      for start = 1, #digests, 16 do
        redis.call('ZADD', tags, 0, string.sub(digests, start, start + 15) .. key)
      end
      add_bytes(size)
    end
  end
  done = done + 1
end
return {evicted, done}
