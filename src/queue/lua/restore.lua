-- Puts jobs into their lanes under their tokens, except those that some key still holds. KEYS: jobs, held, ready.
-- ARGV: prefix, then per job: token, lane group, priority, record. Returns per job 1 when it was put there, else 0.
local now, done = now_us(), {}
for i = 2, #ARGV, 4 do
    local token = ARGV[i]
    local held = holds(KEYS[1], KEYS[2], token)
    if not held then
        redis.call('HSET', KEYS[2], token, ARGV[i + 3])
        into_lane(ARGV[1], KEYS[3], ARGV[i + 1], ARGV[i + 2], token, now, false)
    end
    done[#done + 1] = held and 0 or 1
end
return done
