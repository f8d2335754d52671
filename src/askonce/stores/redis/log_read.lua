-- KEYS: events, head. ARGV: after, limit. Returns head, how many events are kept, and the events asked for.
local head, kept = tonumber(redis.call('GET', KEYS[2]) or '0'), redis.call('LLEN', KEYS[1])
if head == 0 or kept == 0 then return {0, 0, {}} end
local skip = math.max(tonumber(ARGV[1]) - (head - kept), 0)
local limit = tonumber(ARGV[2])
local events = {}
if limit > 0 then events = redis.call('LRANGE', KEYS[1], skip, skip + limit - 1) end
return {head, kept, events}
