-- Renews the lease of a worker on what it was served from lanes. KEYS: leases. ARGV: worker, its lease in ms.
-- Redis refuses ZADD first of all when its memory is full, and never after a write that it allows: what is in hand is
-- renewed even then.
redis.call('ZREM', KEYS[1], ARGV[1])
lease(KEYS[1], ARGV[1], ARGV[2], now_us())
return 1
