-- Pauses. ARGV: prefix, group or `*`, kind or `*`, the moment. Returns 1, or 0 when it was paused already.
return redis.call('HSETNX', ARGV[1] .. 'paused', ARGV[2] .. '|' .. ARGV[3], ARGV[4])
