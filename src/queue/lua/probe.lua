-- Claims the one probe of a group that its sender's refusal holds back. KEYS: pace. ARGV: microseconds between two.
-- Returns 1 when this caller may try, else 0; either way the group's lanes rest until the next probe is due.
-- What `take` then lets through is one token, and after it a moment of rest: whoever got it claims here, or finds
-- that nothing holds the group back any more, and the lanes are open again by themselves.
local now, every = now_us(), tonumber(ARGV[1])
local probed = tonumber(redis.call('HGET', KEYS[1], 'probed') or 0)
local granted = now - probed >= every
if granted then probed = now end
redis.call('HSET', KEYS[1], 'probed', string.format('%.0f', probed),
    'blocked', string.format('%.0f', probed + every), 'probe', '1')
redis.call('PEXPIRE', KEYS[1], PACE_FORGOTTEN_MS)
return granted and 1 or 0
