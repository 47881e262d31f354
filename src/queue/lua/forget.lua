-- Removes a consumer that has nothing in hand. KEYS: jobs, run, workers. ARGV: group of consumers, consumer.
-- In one script: deleting a consumer with entries in hand would lose them.
for i = 1, 2 do
    -- A stream or group that is gone has no consumers.
    local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[i], ARGV[1])
    for _, consumer in ipairs(consumers.err and {} or consumers) do
        if consumer[2] == ARGV[2] and consumer[4] == 0 then
            redis.call('XGROUP', 'DELCONSUMER', KEYS[i], ARGV[1], ARGV[2])
        end
    end
end
return redis.call('HDEL', KEYS[3], ARGV[2])
