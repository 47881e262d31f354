-- Moves delayed jobs that are due, and parked ones that are not paused any more, into their lanes.
-- KEYS: delayed, held, ready. ARGV: prefix, at most. Every format of a record begins `group|priority|`.
-- Returns how many were due or parked.
local now = now_us()
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', math.floor(now / 1000)), 'LIMIT', 0, ARGV[2])
for _, token in ipairs(due) do
    redis.call('ZREM', KEYS[1], token)
    local record = redis.call('HGET', KEYS[2], token)
    if record then
        local group, priority = string.match(record, '^([^|]*)|(%d)|')
        into_lane(ARGV[1], KEYS[3], group, priority, token, now, false)
    end
end
return math.max(#due, unpark(ARGV[1], KEYS[3], tonumber(ARGV[2]), now))
