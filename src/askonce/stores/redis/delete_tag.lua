-- ARGV: now, digest of the tag. Returns how many records there were, and 1 if none is left.
local deleted = 0
local first, last = '[' .. ARGV[2], '[' .. ARGV[2] .. string.rep('\255', 65) -- a key has at most 64 bytes
local members = redis.call('ZRANGEBYLEX', tags, first, last, 'LIMIT', 0, removals)
for _, member in ipairs(members) do
  if remove(string.sub(member, 17)) then deleted = deleted + 1 end
end
save_bytes()
return {deleted, #members < removals and 1 or 0}
