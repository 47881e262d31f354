-- How many of the entries just read may run at once: their group has nothing waiting and has tokens.
-- KEYS: ready, pace of each group. ARGV: capacity, then per group: name, rate, wanted.
local now, left, grants = now_us(), tonumber(ARGV[1]), {}
local groups = #KEYS - 1
for i = 1, groups do
    local group, rate, want = ARGV[3 * i - 1], ARGV[3 * i], tonumber(ARGV[3 * i + 1])
    local pace, count = KEYS[i + 1], 0
    -- An unknown rate leaves the pace as it was.
    if rate ~= '' and redis.call('HGET', pace, 'rate') ~= rate then redis.call('HSET', pace, 'rate', rate) end
    if left > 0 and not redis.call('ZSCORE', KEYS[1], group) then
        count = take(pace, math.min(want, math.ceil(left / (groups - i + 1))), now)
    end
    grants[i] = count
    left = left - count
end
return grants
