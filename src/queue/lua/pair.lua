-- The pace of a pair: one sender and one recipient; prepended to the scripts that start jobs.
-- Meta's rule ("About the platform", 2026): one message per 6 s to the same user; up to 45 within 6 s borrow from the
-- time after, in which none is taken. `pair:<hash>` is `earned:opened:burst:promised`: when everything sent is
-- earned, when the burst began and its size, and the last moment that was promised to a job that waits.
local PAIR_US = 6000000
-- Below Meta's 45: others may write to the patient from the same number.
local PAIR_BURST = 40
-- Promised moments are this much further apart: a job runs a little after its moment, and not each equally late.
local PROMISE_US = 500000

local function write_pair(key, earned, opened, burst, promised, now)
    local until_us = math.max(earned, promised + PAIR_US)
    redis.call('SET', key, string.format('%.0f:%.0f:%d:%.0f', earned, opened, burst, promised),
        'PX', math.max(1, math.ceil((until_us - now) / 1000)))
end

-- What a pair is that was free: the same for all jobs of one call.
local fresh_at, fresh

-- Counts one message to a pair. Returns 0 when it may go, else the millisecond that is promised to it.
local function pair_due(prefix, pair, now)
    if pair == '' then return 0 end
    local key = prefix .. 'pair:' .. pair
    if now ~= fresh_at then
        fresh_at, fresh = now, string.format('%.0f:%.0f:1:0', now + PAIR_US, now)
    end
    -- Nearly always nothing was sent to this patient lately: one command.
    if redis.call('SET', key, fresh, 'PX', PAIR_US / 1000, 'NX') then return 0 end
    local earned, opened, burst, promised = string.match(redis.call('GET', key) or '', '^(%d+):(%d+):(%d+):(%d+)$')
    earned, opened, burst, promised = tonumber(earned or 0), tonumber(opened or 0), tonumber(burst or 0), tonumber(promised or 0)
    if earned <= now then
        earned, opened, burst = now, now, 0
    elseif now - opened >= PAIR_US or burst >= PAIR_BURST then
        promised = math.max(earned, promised + PAIR_US + PROMISE_US)
        write_pair(key, earned, opened, burst, promised, now)
        return math.ceil(promised / 1000)
    end
    write_pair(key, earned + PAIR_US, opened, burst + 1, promised, now)
    return 0
end
