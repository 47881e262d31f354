-- The pace of a group, shared by all workers; prepended to the scripts that take from it or lower it.
-- `pace:<group>` is a hash: rate (as set), tat (GCRA's theoretical arrival time), total (tokens taken so far),
-- noted (time of the newest entry of the log), factor and lowered (what was left of the rate at a refusal, and when),
-- rest and blocked (nothing is taken before), probe and probed (probe.lua). `taken:<group>` is a list, `time:total before`, of the last window.

-- What may start at once after idling, as a part of a second of the rate.
local BURST_US = 50000
-- No window of this length has more tokens than the rate has a second. It is longer than the second that is
-- promised, because a request leaves some milliseconds after its token was taken, and not each equally late.
local WINDOW_US = 1020000
-- Tokens taken within this share an entry of the log; an entry may leave the window that much early.
local NOTE_US = 1000
-- A group that starts nothing for so long is told its rate again by the worker that next meets it.
local PACE_FORGOTTEN_MS = 86400000
-- A group that waits for a probe (probe.lua) gets one token, and then rests for as long as a probe needs to claim.
local PROBE_REST_US = 5000000
-- The pace of a group whose rate nobody has told yet.
local RATE_UNKNOWN = 80
-- After refusals the whole rate would be won back in so long; half of it, in half of that.
local RECOVERY_US = 120000000

-- What part of its rate a group has by now: it grows back evenly from what the last refusal left.
local function factor_at(factor, lowered, now)
    if not factor then return 1 end
    return math.min(1, tonumber(factor) + math.max(0, now - tonumber(lowered)) / RECOVERY_US)
end

-- Takes up to `want` tokens of a group: GCRA gives the pace, the log of the window the promise per second.
-- Returns how many were taken, the microsecond at which the next one is free, and whether the rate is known.
local function take(prefix, group, want, now)
    local pace, log = prefix .. 'pace:' .. group, prefix .. 'taken:' .. group
    local state = redis.call('HMGET', pace, 'rate', 'tat', 'total', 'noted', 'factor', 'lowered', 'rest', 'blocked', 'probe')
    local known = state[1] and true or false
    local closed = math.max(tonumber(state[7] or 0), tonumber(state[8] or 0))
    if closed > now then return 0, closed, known end
    if state[9] then
        redis.call('HDEL', pace, 'probe')
        redis.call('HSET', pace, 'blocked', string.format('%.0f', now + PROBE_REST_US))
        return 1, now + PROBE_REST_US, known
    end
    local rate = tonumber(state[1] or RATE_UNKNOWN)
    if rate <= 0 then return want, now, known end
    rate = rate * factor_at(state[5], state[6], now)
    local most = math.max(1, math.floor(rate + 0.000001))
    local step = 1000000 / rate
    local burst = math.max(BURST_US, step)
    local tat, total, noted = tonumber(state[2] or 0), tonumber(state[3] or 0), tonumber(state[4] or 0)
    if noted > now + WINDOW_US then
        -- The clock was set back, or another server's is used since: what was noted says nothing of this one.
        redis.call('DEL', log)
        tat, noted = 0, 0
    end
    local used, oldest = 0, now
    local head = redis.call('LINDEX', log, 0)
    while head do
        local at, before = string.match(head, '^(%d+):(%d+)$')
        if tonumber(at) > now - WINDOW_US then
            used, oldest = total - tonumber(before), tonumber(at)
            break
        end
        redis.call('LPOP', log)
        head = redis.call('LINDEX', log, 0)
    end
    tat = math.max(tat, now)
    local count = math.max(0, math.min(want, math.floor((now + burst - tat) / step + 0.000001), most - used))
    if count > 0 then
        tat = tat + count * step
        if now >= noted + NOTE_US or not head then
            redis.call('RPUSH', log, string.format('%.0f:%.0f', now, total))
            redis.call('PEXPIRE', log, math.ceil(WINDOW_US / 1000))
            redis.call('PEXPIRE', pace, PACE_FORGOTTEN_MS)
            noted = now
        end
        redis.call('HSET', pace, 'tat', string.format('%.3f', tat), 'total', string.format('%.0f', total + count),
            'noted', string.format('%.0f', noted))
    end
    local next_at = tat + step - burst
    if used + count >= most then next_at = math.max(next_at, oldest + WINDOW_US) end
    return count, next_at, known
end

-- Gives back tokens that found nothing to start, in the script that took them.
local function give_back(prefix, group, count, now)
    local pace = prefix .. 'pace:' .. group
    local state = redis.call('HMGET', pace, 'rate', 'tat', 'total', 'factor', 'lowered')
    local rate = tonumber(state[1] or RATE_UNKNOWN) * factor_at(state[4], state[5], now)
    if rate > 0 and state[2] then
        redis.call('HSET', pace, 'tat', string.format('%.3f', tonumber(state[2]) - count * 1000000 / rate),
            'total', string.format('%.0f', tonumber(state[3] or 0) - count))
    end
end
