-- Counts messages to pairs. ARGV: prefix, then per job its pair, empty for none.
-- Returns per job 0 when it may start, else the millisecond at which it is due.
local now, dues = now_us(), {}
for i = 2, #ARGV do dues[i - 1] = pair_due(ARGV[1], ARGV[i], now) end
return dues
