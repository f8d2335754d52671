-- KEYS: the lease. ARGV: now, owner, seconds, slack. The value holds the end, so that the client's clock decides,
-- unless it lies too far ahead; the server drops the key a second later.
local now, owner, seconds = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 9) ~= owner then
  local ends = struct.unpack('>d', held)
  if ends > now and ends <= now + seconds * tonumber(ARGV[4]) then return 0 end
end
local milliseconds = string.format('%d', math.ceil(seconds * 1000) + 1000)
redis.call('SET', KEYS[1], struct.pack('>d', now + seconds) .. owner, 'PX', milliseconds)
return 1
