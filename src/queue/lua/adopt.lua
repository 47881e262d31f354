-- Jobs that an earlier version served from lanes, in the stream `run`, and whose lease ran out: back to
-- the front of their lanes. KEYS: run, held, ready. ARGV: prefix, group of consumers, lease in ms, at most.
-- Returns how many.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local idle = redis.pcall('XPENDING', KEYS[1], ARGV[2], 'IDLE', ARGV[3], '-', '+', ARGV[4])
if idle.err then return 0 end
for _, pending in ipairs(idle) do
    local entry = redis.call('XRANGE', KEYS[1], pending[1], pending[1])[1]
    local token = entry and entry[2][2]
    local record = token and redis.call('HGET', KEYS[2], token)
    if record then
        local group, priority = string.match(record, '^([^|]*)|(%d)|')
        into_lane(ARGV[1], KEYS[3], group, priority, token, now_us(), true)
    end
    redis.call('XACK', KEYS[1], ARGV[2], pending[1])
    redis.call('XDEL', KEYS[1], pending[1])
end
return #idle
