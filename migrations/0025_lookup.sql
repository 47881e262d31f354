-- What a screen looks for among millions, found without an index that the pipeline would pay for.

-- Those of before the trigger of 0024.
insert into notification_unreached
    select tenant_id, notification_id from notification where status in ('not_sent', 'failed', 'unknown')
on conflict do nothing;

-- A notification's entries. They are written in about the order of their notifications, so the least and the greatest
-- of each part of the table lead there; several of both, for an entry may come days later (a refund, a late outcome).
-- An entry that is added changes nothing here: autovacuum sums a part up once it is full.
-- Built under a lock that makes who posts wait: some seconds for ten million entries.
set local lock_timeout = '10s';
create index ledger_entry_notification on ledger_entry using brin (notification_id uuid_minmax_multi_ops)
    with (pages_per_range = 32, autosummarize = on);
