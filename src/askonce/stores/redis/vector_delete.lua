-- KEYS: vector set, names. ARGV: partition, elements. Returns how many there were.
local count = 0
for place = 2, #ARGV do count = count + redis.call('VREM', KEYS[1], ARGV[place]) end
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('ZREM', KEYS[2], ARGV[1]) end
return count
