-- Renews the leases of entries that are still this consumer's. KEYS: stream. ARGV: group of consumers, consumer, ids.
-- Returns the ids that are another's by now, or gone.
local lost = {}
for i = 3, #ARGV do
    if owned(KEYS[1], ARGV[1], ARGV[2], ARGV[i]) then
        redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID')
    else
        lost[#lost + 1] = ARGV[i]
    end
end
return lost
