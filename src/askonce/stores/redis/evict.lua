-- ARGV: now, base, max_entries, max_bytes. Returns how many were evicted, and 1 if that was enough.
local evicted, fits = make_room(0, 0, tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[2] == 'inflation')
save_bytes()
return {evicted, fits and 1 or 0}
