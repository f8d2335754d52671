-- ARGV: now, base, then for each record: key, hits to add.
for at = 3, #ARGV, 2 do
  local key = ARGV[at]
  local record = redis.call('HGET', records, key)
  if record then
    local expiry, weight, hits, size = fields(record)
    if expiry == 0 or expiry > now then
      hits = hits + tonumber(ARGV[at + 1])
      redis.call('HSET', records, key, struct.pack(RECORD, expiry, weight, hits, size) .. string.sub(record, 29))
      redis.call('ZADD', priorities, exact(base(ARGV[2], expiry) + hits * weight), key)
    end
  end
end
return 0
