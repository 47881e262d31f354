-- Shared by every script below; prepended to each.
local function now_us()
    local t = redis.call('TIME')
    return tonumber(t[1]) * 1000000 + tonumber(t[2])
end

local PENDING_PAGE = 1000

-- Only the owner of an entry may renew, move or acknowledge it: a stalled worker's entry may be another's by now.
local function owned(stream, group, consumer, id)
    return #redis.call('XPENDING', stream, group, id, id, 1, consumer) > 0
end

-- Those of these ids (in the order of the stream) that are the consumer's, as a set: one look for all of them.
local function owned_range(stream, group, consumer, ids)
    local set = {}
    local from = ids[1]
    -- Others of ours may lie between them, so it goes on until the last was seen.
    while from do
        local pending = redis.call('XPENDING', stream, group, from, ids[#ids], PENDING_PAGE, consumer)
        for _, entry in ipairs(pending) do set[entry[1]] = true end
        from = #pending == PENDING_PAGE and '(' .. pending[PENDING_PAGE][1] or nil
    end
    return set
end

-- Takes up to `want` tokens of a group (GCRA, burst of at most 50 ms of the rate).
-- Returns how many were taken and the microsecond at which the next one is free.
local BURST_US = 50000
-- A group that starts nothing for so long is told its rate again by the next worker that meets it.
local PACE_FORGOTTEN_MS = 86400000
-- A group that waits for a probe (probe.lua) gets one token, and then rests for as long as a probe needs to claim.
local PROBE_REST_US = 5000000
-- The pace of a group whose rate nobody has told yet.
local RATE_UNKNOWN = 80
local function take(pace, want, now)
    local state = redis.call('HMGET', pace, 'tat', 'rate', 'blocked', 'probe')
    local blocked = tonumber(state[3] or 0)
    if blocked > now then return 0, blocked end
    if state[4] then
        redis.call('HDEL', pace, 'probe')
        redis.call('HSET', pace, 'blocked', string.format('%.0f', now + PROBE_REST_US))
        return 1, now + PROBE_REST_US
    end
    local rate = tonumber(state[2] or RATE_UNKNOWN)
    if rate <= 0 then return want, now end
    local step = 1000000 / rate
    local burst = math.max(BURST_US, step)
    local tat = math.max(tonumber(state[1] or 0), now)
    local count = math.min(want, math.floor((now + burst - tat) / step + 0.000001))
    if count > 0 then
        tat = tat + count * step
        redis.call('HSET', pace, 'tat', string.format('%.3f', tat))
        redis.call('PEXPIRE', pace, PACE_FORGOTTEN_MS)
    else
        count = 0
    end
    return count, tat + step - burst
end

-- Gives back tokens that found nothing to start.
local function give_back(pace, count)
    local state = redis.call('HMGET', pace, 'tat', 'rate')
    local rate = tonumber(state[2] or RATE_UNKNOWN)
    if rate > 0 and state[1] then
        redis.call('HSET', pace, 'tat', string.format('%.3f', tonumber(state[1]) - count * 1000000 / rate))
    end
end

-- Puts a token into its lane and makes the group known to whoever serves lanes.
local function into_lane(prefix, ready, group, priority, token, now, front)
    local lane = prefix .. 'lane:' .. group .. ':' .. priority
    redis.call(front and 'LPUSH' or 'RPUSH', lane, token)
    redis.call('ZADD', ready, 'NX', string.format('%.0f', now), group)
end

-- Whether a job waits, is delayed or is in hand: every one is in `held`, or still an entry of the intake.
local function holds(jobs, held, token)
    return redis.call('HEXISTS', held, token) == 1
        or string.match(token, '^%d+%-%d+$') and #redis.call('XRANGE', jobs, token, token) > 0
end
