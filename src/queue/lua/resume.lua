-- Ends the pauses that match. KEYS: ready. ARGV: prefix, group or empty for every, kind or empty for every.
-- Returns the fields that were there. Parked jobs come back with the next promotion.
local prefix, ended, now = ARGV[1], {}, string.format('%.0f', now_us())
for _, field in ipairs(redis.call('HKEYS', prefix .. 'paused')) do
    local group, kind = string.match(field, '^([^|]*)|([^|]*)$')
    if (ARGV[2] == '' or ARGV[2] == group) and (ARGV[3] == '' or ARGV[3] == kind) then
        redis.call('HDEL', prefix .. 'paused', field)
        -- Its turn was put off while it was paused.
        redis.call('ZADD', KEYS[1], 'XX', now, group)
        ended[#ended + 1] = field
    end
end
local parked = prefix .. 'parked'
local paused = #ended > 0 and read_paused(prefix)
for _, name in ipairs(paused and redis.call('SMEMBERS', parked) or {}) do
    local group, kind = string.match(name, '^([^:]*):%d:([^:]*)$')
    if not is_kind_paused(paused, group, kind) then redis.call('SMOVE', parked, prefix .. 'unparked', name) end
end
return ended
