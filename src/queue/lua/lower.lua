-- Lowers a group's rate after a refusal, once a second at most, and lets it rest; it grows back by itself.
-- A lone refusal may be an accident of the network and takes a fifth; one soon after another takes half.
-- ARGV: prefix, group, milliseconds of rest. Returns the rate from now on (text), or an empty text when it was
-- lowered within the last second: jobs already on their way meet the same refusal.
local PART, PART_AGAIN, AGAIN_US, FACTOR_MIN, ONCE_US = 0.8, 0.5, 10000000, 0.05, 1000000
local pace, now = ARGV[1] .. 'pace:' .. ARGV[2], now_us()
local state = redis.call('HMGET', pace, 'rate', 'factor', 'lowered', 'rest')
local rest = now + tonumber(ARGV[3]) * 1000
if rest > tonumber(state[4] or 0) then redis.call('HSET', pace, 'rest', string.format('%.0f', rest)) end
redis.call('PEXPIRE', pace, PACE_FORGOTTEN_MS)
local since = now - tonumber(state[3] or 0)
if since >= 0 and since < ONCE_US then return '' end
local part = (since >= 0 and since < AGAIN_US) and PART_AGAIN or PART
local factor = math.max(FACTOR_MIN, factor_at(state[2], state[3], now) * part)
redis.call('HSET', pace, 'factor', string.format('%.6f', factor), 'lowered', string.format('%.0f', now))
return string.format('%.2f', tonumber(state[1] or RATE_UNKNOWN) * factor)
