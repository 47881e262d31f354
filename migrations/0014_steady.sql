-- What keeps the pipeline steady beside readers that take long, and whatever statistics a month has.

-- Events of a tenant whose account somebody keeps locked wait here too, so that the others' are applied meanwhile.
-- Until it is applied it proves nothing, so no outcome may be resolved by what came after it.
alter table orphan_event add column tenant_id uuid;
create index orphan_event_tenant on orphan_event (tenant_id) where tenant_id is not null;

-- A plan made while a month is empty and analyzed (a nightly vacuumdb, a restore) took an index whose second column is
-- the tenant for as good as the primary key, and went through all of the tenant's month for each row. The keyed hash
-- alone names the patient, so the index loses nothing; and it cannot be used for a tenant any more.
-- Built under a lock that makes writers wait: some seconds per million rows of the current month.
drop index notification_recipient;
create index notification_recipient on notification (recipient_hash);

-- As in 0007, but the month is made beside its parent and attached, which waits for no reader and lets nobody wait:
-- `create table … partition of` would stand behind a pg_dump, and all work of the pipeline behind it.
create or replace function ensure_partitions(months integer) returns void language plpgsql
    -- Another that changes the parent (an analyze, an index built concurrently) is waited for so long.
    set lock_timeout = '5s' as $$
declare
    month timestamptz;
    parent text;
    child text;
begin
    perform pg_advisory_xact_lock(hashtext('kmsnotif.ensure_partitions'));
    for month in
        select generate_series(date_trunc('month', now() at time zone 'utc') - interval '1 month',
                               date_trunc('month', now() at time zone 'utc') + make_interval(months => months),
                               interval '1 month') at time zone 'utc'
    loop
        foreach parent in array array['notification', 'attempt', 'event_log'] loop
            child := parent || '_' || to_char(month at time zone 'utc', 'YYYY_MM');
            if to_regclass(child) is null then
                execute format('create table %I (like %I including defaults including constraints including storage
                                including compression) with (fillfactor = %s)',
                    child, parent,
                    -- A row and its next version fit one page, even when all of a page change in one transaction
                    -- (0003; 0007 took the number of the version before).
                    case parent when 'notification' then 50 else 100 end);
                execute format('alter table %I attach partition %I for values from (%L) to (%L)',
                    parent, child, uuid_floor(month),
                    uuid_floor(((month at time zone 'utc') + interval '1 month') at time zone 'utc'));
                if parent = 'event_log' then
                    execute format('create trigger event_log_refuse_truncate before truncate on %I
                                    for each statement execute function refuse_change()', child);
                end if;
            end if;
        end loop;
    end loop;
end $$;
