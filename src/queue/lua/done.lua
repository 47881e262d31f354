-- Acknowledges finished jobs. KEYS: jobs, held, run of this worker, lost_lease, takeovers.
-- ARGV: group of consumers, consumer, number of intake ids, those ids, then per job from a lane: entry in `run`, token.
-- Returns how many were no longer this consumer's.
local group, consumer, plain, lost = ARGV[1], ARGV[2], tonumber(ARGV[3]), 0
local ids, entries, tokens = {}, {}, {}
-- Nearly always nothing was ever taken over from a worker (`claim.lua` marks it): then no entry of the intake that it had
-- is another's. One that is gone already is acknowledged in vain, which does no harm.
local whole = redis.call('EXISTS', KEYS[4]) == 0
for i = 4, 3 + plain do
    if whole or owned(KEYS[1], group, consumer, ARGV[i]) then ids[#ids + 1] = ARGV[i] else lost = lost + 1 end
end
local served = {}
for i = 4 + plain, #ARGV, 2 do served[#served + 1] = ARGV[i] end
for k, ours in ipairs(#served > 0 and redis.call('SMISMEMBER', KEYS[3], unpack(served)) or {}) do
    if ours == 1 then
        entries[#entries + 1] = served[k]
        tokens[#tokens + 1] = ARGV[3 + plain + 2 * k]
    else
        lost = lost + 1
    end
end
if #ids > 0 then
    redis.call('XACK', KEYS[1], group, unpack(ids))
    redis.call('XDEL', KEYS[1], unpack(ids))
end
if #entries > 0 then
    redis.call('SREM', KEYS[3], unpack(entries))
    redis.call('HDEL', KEYS[2], unpack(tokens))
    forget_takeovers(KEYS[5], tokens)
end
return lost
