-- Delays or rejects jobs in hand. KEYS: jobs, held, run of this worker, delayed, rejected, ready, takeovers.
-- ARGV: prefix, group of consumers, consumer, then per job: source (jobs/run), id, token, verb, and
--   delay:  due in ms, record (empty: it stays as it is)  · back: lane group|priority, record (to the front of its lane) · reject: error, payload, at.
-- Every job has eight arguments, empty where unused. Returns how many were no longer this consumer's.
local prefix, group, consumer, lost, now = ARGV[1], ARGV[2], ARGV[3], 0, now_us()
for i = 4, #ARGV, 8 do
    local from_lane, id, token, verb = ARGV[i] == 'run', ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
    local ours
    if from_lane then ours = redis.call('SREM', KEYS[3], id) == 1 else ours = owned(KEYS[1], group, consumer, id) end
    if ours then
        if verb == 'delay' then
            if ARGV[i + 5] ~= '' then redis.call('HSET', KEYS[2], token, ARGV[i + 5]) end
            redis.call('ZADD', KEYS[4], ARGV[i + 4], token)
        elseif verb == 'back' then
            redis.call('HSET', KEYS[2], token, ARGV[i + 5])
            into_lane(prefix, KEYS[6], ARGV[i + 4], ARGV[i + 6], token, now, true)
        else
            redis.call('XADD', KEYS[5], '*', 'job', ARGV[i + 5], 'error', ARGV[i + 4], 'at', ARGV[i + 6])
            redis.call('HDEL', KEYS[2], token)
        end
        if from_lane then
            forget_takeovers(KEYS[7], {token})
        else
            redis.call('XACK', KEYS[1], group, id)
            redis.call('XDEL', KEYS[1], id)
        end
    else
        lost = lost + 1
        -- Its new owner ended it by what it saw, and this late word is newer: a refusal says that what was given up as
        -- unknown can be sent again. What some key still holds is left to its owner.
        if verb == 'delay' and ARGV[i + 5] ~= '' and not holds(KEYS[1], KEYS[2], token) then
            redis.call('HSET', KEYS[2], token, ARGV[i + 5])
            redis.call('ZADD', KEYS[4], ARGV[i + 4], token)
        end
    end
end
return lost
