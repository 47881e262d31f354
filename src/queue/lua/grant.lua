-- How many of the entries just read may run at once: their group has nothing waiting or paused and has tokens.
-- KEYS: ready. ARGV: prefix, capacity, number of groups, then per group: name, rate, wanted, and that many pairs.
-- Returns how many of each group, and per job of these (in the order of the groups) 0, or when its pair lets it run.
local prefix, left, groups = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now, paused, grants, dues = now_us(), read_paused(prefix), {}, {}
local i = 4
for g = 1, groups do
    local group, rate, want = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
    local pace, count = prefix .. 'pace:' .. group, 0
    -- An unknown rate leaves the pace as it was.
    if rate ~= '' and redis.call('HGET', pace, 'rate') ~= rate then redis.call('HSET', pace, 'rate', rate) end
    local open = not is_group_paused(paused, group) and not has_paused_kind(paused, group)
    if left > 0 and open and not redis.call('ZSCORE', KEYS[1], group) then
        count = take(prefix, group, math.min(want, math.ceil(left / (groups - g + 1))), now)
    end
    grants[g] = count
    left = left - count
    for j = 1, count do dues[#dues + 1] = pair_due(prefix, ARGV[i + 2 + j], now) end
    i = i + 3 + want
end
return {grants, dues}
