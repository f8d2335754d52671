-- KEYS: the lease. ARGV: owner.
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 9) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0
