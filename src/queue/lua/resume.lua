-- Ends the pauses that match. KEYS: ready. ARGV: prefix, group or empty for every, kind or empty for every.
-- Returns the fields that were there. Parked jobs come back with the next promotion.
local ended, now = {}, string.format('%.0f', now_us())
for _, field in ipairs(redis.call('HKEYS', ARGV[1] .. 'paused')) do
    local group, kind = string.match(field, '^([^|]*)|([^|]*)$')
    if (ARGV[2] == '' or ARGV[2] == group) and (ARGV[3] == '' or ARGV[3] == kind) then
        redis.call('HDEL', ARGV[1] .. 'paused', field)
        -- Its turn was put off while it was paused.
        redis.call('ZADD', KEYS[1], 'XX', now, group)
        ended[#ended + 1] = field
    end
end
return ended
