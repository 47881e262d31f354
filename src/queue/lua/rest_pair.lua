-- Meta refused a message to a pair: nothing more goes to it for so long. ARGV: prefix, pair, milliseconds.
local key, now = ARGV[1] .. 'pair:' .. ARGV[2], now_us()
local earned, _, _, promised = string.match(redis.call('GET', key) or '', '^(%d+):(%d+):(%d+):(%d+)$')
earned = math.max(tonumber(earned or 0), now + tonumber(ARGV[3]) * 1000)
write_pair(key, earned, now, PAIR_BURST, tonumber(promised or 0), now)
return 0
