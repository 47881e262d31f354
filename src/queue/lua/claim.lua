-- Takes over entries of the intake whose lease ran out, and marks whose they were: those look at each entry from now on
-- before they call it their own, for longer than any job stays in hand.
-- KEYS: jobs. ARGV: prefix, group of consumers, consumer, lease in ms, ids. Returns the entries that are its own now.
local MARK_MS = '2592000000'
local owners = {}
for i = 5, #ARGV do
    local pending = redis.call('XPENDING', KEYS[1], ARGV[2], ARGV[i], ARGV[i], 1)[1]
    if pending and pending[2] ~= ARGV[3] and pending[3] >= tonumber(ARGV[4]) then owners[pending[2]] = true end
end
-- First of all: when Redis is full it refuses a script that begins with SET.
local claimed = redis.call('XCLAIM', KEYS[1], ARGV[2], ARGV[3], ARGV[4], unpack(ARGV, 5))
for owner in pairs(owners) do redis.call('SET', ARGV[1] .. 'lost_lease:' .. owner, '1', 'PX', MARK_MS) end
return claimed
