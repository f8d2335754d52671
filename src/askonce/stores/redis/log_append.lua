-- KEYS: events, head. ARGV: event, how many to retain, where a new log begins. Returns the event's sequence.
-- A server that is short of memory may have dropped one of the keys: then the log is a new one.
local head = tonumber(redis.call('GET', KEYS[2]) or '0')
if head == 0 or redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[2], string.format('%d', math.max(head, tonumber(ARGV[3]) - 1)))
end
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], -tonumber(ARGV[2]), -1)
return redis.call('INCR', KEYS[2])
