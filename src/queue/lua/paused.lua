-- What operators paused: the hash `paused`, `group|kind` to the moment, `*` for any; prepended where it counts.

-- All pauses: by field, and in `kinds` the groups (or `*`) of which some kind is paused.
local function read_paused(prefix)
    local paused = {fields = {}, kinds = {}}
    for _, field in ipairs(redis.call('HKEYS', prefix .. 'paused')) do
        paused.fields[field] = true
        local group, kind = string.match(field, '^([^|]*)|([^|]*)$')
        if kind and kind ~= '*' then paused.kinds[group] = true end
    end
    return paused
end

-- Whether nothing of the group may start.
local function is_group_paused(paused, group)
    return paused.fields['*|*'] or paused.fields[group .. '|*']
end

-- Whether some kind of the group may not start.
local function has_paused_kind(paused, group)
    return paused.kinds['*'] or paused.kinds[group]
end

local function is_kind_paused(paused, group, kind)
    return paused.fields['*|' .. kind] or paused.fields[group .. '|' .. kind]
end

-- The kind that a record names, if its format has one (see record.rs).
local function kind_of(record)
    return record and string.match(record, '^[^|]*|%d|2:%d+:([^|]*)|')
end

-- Pops up to `most` tokens of a lane that may start; those of paused kinds are parked on the way, `look` at most,
-- so that they hold up no other kind. Returns the tokens, and how many more may be looked at.
local function pop_unpaused(prefix, group, priority, most, look, paused)
    local lane, tokens = prefix .. 'lane:' .. group .. ':' .. priority, {}
    while #tokens < most and look > 0 do
        local popped = redis.call('LPOP', lane, math.min(most - #tokens, look))
        if not popped then break end
        look = look - #popped
        for _, token in ipairs(popped) do
            local kind = kind_of(redis.call('HGET', prefix .. 'held', token))
            if kind and is_kind_paused(paused, group, kind) then
                local name = group .. ':' .. priority .. ':' .. kind
                redis.call('RPUSH', prefix .. 'parked:' .. name, token)
                redis.call('SADD', prefix .. 'parked', name)
            else
                tokens[#tokens + 1] = token
            end
        end
    end
    return tokens, look
end

-- Lists that come back at once at most; the rest with the next call.
local UNPARK_LISTS = 500

-- Puts up to `most` tokens of resumed lists back to the front of their lanes, in their order. Returns how many, and at
-- least `most` as long as any list is left.
local function unpark(prefix, ready, most, now)
    local moved, back = 0, prefix .. 'unparked'
    if redis.call('EXISTS', back) == 0 then return 0 end
    local paused = read_paused(prefix)
    for _, name in ipairs(redis.call('SRANDMEMBER', back, UNPARK_LISTS)) do
        local group, priority, kind = string.match(name, '^([^:]*):(%d):([^:]*)$')
        if is_kind_paused(paused, group, kind) then
            -- Paused again meanwhile.
            redis.call('SMOVE', back, prefix .. 'parked', name)
        else
            local from, lane = prefix .. 'parked:' .. name, prefix .. 'lane:' .. group .. ':' .. priority
            while moved < most and redis.call('RPOPLPUSH', from, lane) do moved = moved + 1 end
            redis.call('ZADD', ready, 'NX', string.format('%.0f', now), group)
            if redis.call('EXISTS', from) == 0 then redis.call('SREM', back, name) end
        end
    end
    return redis.call('EXISTS', back) == 1 and most or moved
end
