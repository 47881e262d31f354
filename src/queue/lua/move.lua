-- Moves entries of the intake into their lanes.
-- KEYS: jobs, held, ready. ARGV: prefix, group of consumers, consumer, then per entry: id, lane group, priority, record.
-- Written in few large commands: a hundred thousand entries may wait to be sorted.
local CHUNK = 1000
local prefix, now = ARGV[1], string.format('%.0f', now_us())
local ids, moved, records, lanes, groups = {}, {}, {}, {}, {}
for i = 4, #ARGV, 4 do ids[#ids + 1] = ARGV[i] end
local ours = owned_range(KEYS[1], ARGV[2], ARGV[3], ids)
for i = 4, #ARGV, 4 do
    local id, group, priority = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    if ours[id] then
        records[#records + 1] = id
        records[#records + 1] = ARGV[i + 3]
        local lane = groups[group] and groups[group][priority]
        if not lane then
            lane = {}
            groups[group] = groups[group] or {}
            groups[group][priority] = lane
            lanes[#lanes + 1] = {prefix .. 'lane:' .. group .. ':' .. priority, lane}
        end
        lane[#lane + 1] = id
        moved[#moved + 1] = id
    end
end
for from = 1, #records, CHUNK do
    redis.call('HSET', KEYS[2], unpack(records, from, math.min(from + CHUNK - 1, #records)))
end
for _, lane in ipairs(lanes) do
    for from = 1, #lane[2], CHUNK do
        redis.call('RPUSH', lane[1], unpack(lane[2], from, math.min(from + CHUNK - 1, #lane[2])))
    end
end
for group in pairs(groups) do redis.call('ZADD', KEYS[3], 'NX', now, group) end
for from = 1, #moved, CHUNK do
    local last = math.min(from + CHUNK - 1, #moved)
    redis.call('XACK', KEYS[1], ARGV[2], unpack(moved, from, last))
    redis.call('XDEL', KEYS[1], unpack(moved, from, last))
end
return #moved
