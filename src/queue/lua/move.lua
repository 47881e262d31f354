-- Moves entries of the intake into their lanes.
-- KEYS: jobs, held, ready. ARGV: prefix, group of consumers, consumer, then per entry: id, lane group, priority, record.
local now, ids, moved, groups = now_us(), {}, {}, {}
for i = 4, #ARGV, 4 do ids[#ids + 1] = ARGV[i] end
local ours = owned_range(KEYS[1], ARGV[2], ARGV[3], ids)
for i = 4, #ARGV, 4 do
    local id, group = ARGV[i], ARGV[i + 1]
    if ours[id] then
        redis.call('HSET', KEYS[2], id, ARGV[i + 3])
        redis.call('RPUSH', ARGV[1] .. 'lane:' .. group .. ':' .. ARGV[i + 2], id)
        groups[group] = true
        moved[#moved + 1] = id
    end
end
for group in pairs(groups) do redis.call('ZADD', KEYS[3], 'NX', string.format('%.0f', now), group) end
if #moved > 0 then
    redis.call('XACK', KEYS[1], ARGV[2], unpack(moved))
    redis.call('XDEL', KEYS[1], unpack(moved))
end
return #moved
