-- Moves entries of the intake into their lanes.
-- KEYS: jobs, held, ready. ARGV: prefix, group of consumers, consumer, front (0/1), then per entry: id, lane group, priority, record.
local now, ids = now_us(), {}
for i = 5, #ARGV, 4 do
    local id = ARGV[i]
    if owned(KEYS[1], ARGV[2], ARGV[3], id) then
        redis.call('HSET', KEYS[2], id, ARGV[i + 3])
        into_lane(ARGV[1], KEYS[3], ARGV[i + 1], ARGV[i + 2], id, now, ARGV[4] == '1')
        ids[#ids + 1] = id
    end
end
if #ids > 0 then
    redis.call('XACK', KEYS[1], ARGV[2], unpack(ids))
    redis.call('XDEL', KEYS[1], unpack(ids))
end
return #ids
