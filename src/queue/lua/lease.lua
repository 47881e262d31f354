-- Renews the lease of a worker on what it was served from lanes. KEYS: leases. ARGV: worker, its lease in ms.
lease(KEYS[1], ARGV[1], ARGV[2], now_us())
return 1
