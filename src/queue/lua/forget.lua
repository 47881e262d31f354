-- Removes a worker that has nothing in hand. KEYS: jobs, run of the worker, workers, leases.
-- ARGV: group of consumers, worker. In one script: deleting a consumer with entries in hand would lose them.
-- A stream or group that is gone has no consumers.
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
for _, consumer in ipairs(consumers.err and {} or consumers) do
    if consumer[2] == ARGV[2] and consumer[4] == 0 then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
    end
end
if redis.call('SCARD', KEYS[2]) == 0 then redis.call('ZREM', KEYS[4], ARGV[2]) end
return redis.call('HDEL', KEYS[3], ARGV[2])
