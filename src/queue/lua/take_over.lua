-- Takes over jobs from lanes of workers whose lease ran out.
-- KEYS: leases, takeovers, run of this worker. ARGV: prefix, this worker, its lease in ms, number of the first job, then
-- per job: its worker, its entry in `run`. Returns per job that is this worker's now: its entry, how often it was taken over.
local now, number, out = now_us(), tonumber(ARGV[4]), {}
lease(KEYS[1], ARGV[2], ARGV[3], now)
for i = 5, #ARGV, 2 do
    local worker, entry = ARGV[i], ARGV[i + 1]
    local until_ms = tonumber(redis.call('ZSCORE', KEYS[1], worker) or 0)
    if until_ms <= now / 1000 and redis.call('SREM', ARGV[1] .. 'run:' .. worker, entry) == 1 then
        local token = string.match(entry, '^%d+:(.*)$')
        local mine = string.format('%d:%s', number, token)
        number = number + 1
        redis.call('SADD', KEYS[3], mine)
        out[#out + 1] = mine
        out[#out + 1] = redis.call('HINCRBY', KEYS[2], token, 1)
    end
end
return out
