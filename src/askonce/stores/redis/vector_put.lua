-- KEYS: vector set, names. ARGV: now, expiry (0 for never), partition, element, vector (float32). A member of a
-- vector set cannot expire, so the whole set does when the last of its members would have.
local expiry = tonumber(ARGV[2])
local existed = redis.call('EXISTS', KEYS[1]) == 1
redis.call('VADD', KEYS[1], 'FP32', ARGV[5], ARGV[4], 'Q8', 'M', 16)
if expiry == 0 then
  redis.call('PERSIST', KEYS[1])
  redis.call('ZADD', KEYS[2], 'inf', ARGV[3])
else
  local at = string.format('%d', math.ceil(expiry) + 1)
  if existed then redis.call('EXPIREAT', KEYS[1], at, 'GT') else redis.call('EXPIREAT', KEYS[1], at) end
  redis.call('ZADD', KEYS[2], 'GT', at, ARGV[3])
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. ARGV[1])
return 1
