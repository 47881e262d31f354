-- What other workers were served from lanes whose lease ran out. KEYS: leases, takeovers. ARGV: prefix, this worker.
-- Returns per job: its worker, its entry in `run`, how often it was taken over.
-- A worker was served little more than its concurrency; all of it is read at once.
local CHUNK = 1000
local out = {}
local now_ms = string.format('%.0f', math.floor(now_us() / 1000))
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms)) do
    local entries = worker == ARGV[2] and {} or redis.call('SMEMBERS', ARGV[1] .. 'run:' .. worker)
    if #entries == 0 and worker ~= ARGV[2] then redis.call('ZREM', KEYS[1], worker) end
    for from = 1, #entries, CHUNK do
        local tokens = {}
        for i = from, math.min(from + CHUNK - 1, #entries) do
            tokens[#tokens + 1] = string.match(entries[i], '^%d+:(.*)$')
        end
        for i, times in ipairs(redis.call('HMGET', KEYS[2], unpack(tokens))) do
            out[#out + 1] = worker
            out[#out + 1] = entries[from + i - 1]
            out[#out + 1] = times or '0'
        end
    end
end
return out
