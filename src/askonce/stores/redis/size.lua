-- ARGV: now. Sweeps what has expired. Returns entries, bytes, and 1 if nothing expired is left.
local swept = remove_expired(removals)
return {redis.call('HLEN', records), held_bytes(), swept < removals and 1 or 0}
