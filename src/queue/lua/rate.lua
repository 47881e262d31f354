-- Tells groups their rates. ARGV: prefix, `all` or `known` (only groups that have a pace already), then per group:
-- name, rate.
for i = 3, #ARGV, 2 do
    local pace = ARGV[1] .. 'pace:' .. ARGV[i]
    if ARGV[2] == 'all' or redis.call('EXISTS', pace) == 1 then
        redis.call('HSET', pace, 'rate', ARGV[i + 1])
        redis.call('PEXPIRE', pace, PACE_FORGOTTEN_MS)
    end
end
return 0
