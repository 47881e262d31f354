-- Which of these jobs some key holds. KEYS: jobs, held. ARGV: tokens. Returns per token 1 when it is held, else 0.
local held = {}
for i, token in ipairs(ARGV) do
    held[i] = holds(KEYS[1], KEYS[2], token) and 1 or 0
end
return held
