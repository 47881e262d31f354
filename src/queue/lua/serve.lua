-- Serves lanes in turn: the groups that have waited longest for their turn first, priorities within.
-- KEYS: ready, leases, run of this worker. ARGV: prefix, worker, its lease in ms, capacity, number of the first job.
-- Returns the next microsecond at which a lane may be served (0: none waits), the time now,
-- per job its entry in `run` (its number, a colon, its token), and the groups whose rate nobody has told.
-- The caller reads the records itself: a payload costs more here than anywhere.
local PRIORITIES, GROUPS_MAX = 4, 128
-- Jobs of one turn, and of a round of turns, if there are so many: a turn costs as much as some jobs.
local QUANTUM_MIN, ROUND_MIN = 8, 640
-- A paused group's turn comes so late; resuming brings it forward.
local PAUSED_US = 60000000
-- Jobs of paused kinds that are parked in one turn at most.
local PARK_MAX = 1000
local prefix, now, left, number, out, unknown = ARGV[1], now_us(), tonumber(ARGV[4]), tonumber(ARGV[5]), {}, {}
local paused = read_paused(prefix)
if paused.fields['*|*'] then return {'0', string.format('%.0f', now), out, unknown} end
local groups = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, GROUPS_MAX)
-- Before anything is taken from a lane: a script that fails halfway is not rolled back.
if #groups > 0 then lease(KEYS[2], ARGV[2], ARGV[3], now) end
-- Few groups have long turns (fewer commands per job), many have short ones (nobody waits long for a turn).
local quantum = math.max(QUANTUM_MIN, math.ceil(math.max(ROUND_MIN, tonumber(ARGV[4])) / math.max(#groups, 1)))
for _, group in ipairs(groups) do
    if left <= 0 then break end
    if is_group_paused(paused, group) then
        redis.call('ZADD', KEYS[1], string.format('%.0f', now + PAUSED_US), group)
    else
        local want = math.min(quantum, left)
        local count, next_at, known = take(prefix, group, want, now)
        local open, look = count, PARK_MAX
        if not known then unknown[#unknown + 1] = group end
        for p = 0, PRIORITIES - 1 do
            if open <= 0 then break end
            local popped
            if has_paused_kind(paused, group) then
                popped, look = pop_unpaused(prefix, group, p, open, look, paused)
            else
                popped = redis.call('LPOP', prefix .. 'lane:' .. group .. ':' .. p, open) or {}
            end
            if #popped > 0 then
                local entries = {}
                for i, token in ipairs(popped) do
                    entries[i] = string.format('%d:%s', number, token)
                    out[#out + 1] = entries[i]
                    number = number + 1
                end
                redis.call('SADD', KEYS[3], unpack(entries))
            end
            open = open - #popped
        end
        left = left - (count - open)
        if open > 0 then give_back(prefix, group, open, now) end
        if open > 0 and look > 0 then
            -- Nothing waits any more.
            redis.call('ZREM', KEYS[1], group)
        else
            -- A group that still has tokens goes behind those whose turn is due, by its new score.
            local turn = (count < want and open == 0) and math.max(next_at, now + 1) or now + 1
            redis.call('ZADD', KEYS[1], string.format('%.0f', turn), group)
        end
    end
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {first[2] or '0', string.format('%.0f', now), out, unknown}
