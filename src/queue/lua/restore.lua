-- Puts a job back under its token unless some key still holds it. KEYS: jobs, held, ready.
-- ARGV: prefix, token, lane group, priority, record. Returns 1 when it was put back.
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 then return 0 end
if string.match(ARGV[2], '^%d+%-%d+$') and #redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2]) > 0 then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[5])
into_lane(ARGV[1], KEYS[3], ARGV[3], ARGV[4], ARGV[2], now_us(), false)
return 1
