-- ARGV: now, keys. Returns how many of them there were.
local deleted = 0
for at = 2, #ARGV do
  if remove(ARGV[at]) then deleted = deleted + 1 end
end
save_bytes()
return deleted
