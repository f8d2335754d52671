-- ARGV: now. Sweeps what has expired. Returns entries, bytes, and 1 if nothing expired is left.
local swept = remove_expired(removals)
save_bytes()
return {held, bytes, swept < removals and 1 or 0}
