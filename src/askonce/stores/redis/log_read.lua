-- KEYS: events, head. ARGV: after, limit. Returns head, how many events are retained, and the requested events.
local head, retained = tonumber(redis.call('GET', KEYS[2]) or '0'), redis.call('LLEN', KEYS[1])
if head == 0 or retained == 0 then return {0, 0, {}} end
local skip = math.max(tonumber(ARGV[1]) - (head - retained), 0)
local limit = tonumber(ARGV[2])
local events = {}
if limit > 0 then events = redis.call('LRANGE', KEYS[1], skip, skip + limit - 1) end
return {head, retained, events}
