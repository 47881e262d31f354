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

-- A worker holds all that it was served from lanes (`run:<worker>`) by one lease. Time to the millisecond.
local function lease(leases, worker, lease_ms, now)
    redis.call('ZADD', leases, string.format('%.0f', math.floor(now / 1000) + tonumber(lease_ms)), worker)
end

-- Forgets how often jobs were taken over (nearly always no job was).
local function forget_takeovers(takeovers, tokens)
    if #tokens > 0 and redis.call('EXISTS', takeovers) == 1 then redis.call('HDEL', takeovers, unpack(tokens)) end
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
