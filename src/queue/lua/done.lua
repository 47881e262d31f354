-- Acknowledges finished jobs. KEYS: jobs, held, run.
-- ARGV: group of consumers, consumer, number of intake ids, those ids, then per job from a lane: id in `run`, token.
-- Returns how many were no longer this consumer's.
local group, consumer, plain, lost = ARGV[1], ARGV[2], tonumber(ARGV[3]), 0
local ids, run_ids, tokens = {}, {}, {}
for i = 4, 3 + plain do
    if owned(KEYS[1], group, consumer, ARGV[i]) then ids[#ids + 1] = ARGV[i] else lost = lost + 1 end
end
for i = 4 + plain, #ARGV, 2 do
    if owned(KEYS[3], group, consumer, ARGV[i]) then
        run_ids[#run_ids + 1] = ARGV[i]
        tokens[#tokens + 1] = ARGV[i + 1]
    else
        lost = lost + 1
    end
end
if #ids > 0 then
    redis.call('XACK', KEYS[1], group, unpack(ids))
    redis.call('XDEL', KEYS[1], unpack(ids))
end
if #run_ids > 0 then
    redis.call('HDEL', KEYS[2], unpack(tokens))
    redis.call('XACK', KEYS[3], group, unpack(run_ids))
    redis.call('XDEL', KEYS[3], unpack(run_ids))
end
return lost
