-- Who did what, when; before and after. Append-only; what is committed is sealed into chains of digests.

-- The clock of the chains: the id of the transaction that wrote a row. What is below every transaction still open
-- is final, so sealing skips no late commit. bigint and not xid8: BRIN takes it, and it can be shifted.
-- Another cluster counts from lower numbers: after a logical restore `kmsnotif audit rebase` replaces this function.
-- Stable, not immutable: plans that have its number within are made anew when it is replaced.
create function audit_shift() returns bigint language sql stable as 'select 0::bigint';
create function audit_xid() returns bigint language sql stable as 'select txid_current() + audit_shift()';
create function audit_xmin() returns bigint language sql stable as
    'select txid_snapshot_xmin(txid_current_snapshot()) + audit_shift()';

create table audit_entry (
    -- UUIDv7: in order of time, so the key serves lists.
    audit_entry_id uuid primary key,
    xid bigint not null default audit_xid(),
    -- Null: the whole service (prices, keys). No foreign key: acts outlive what they tell of.
    tenant_id uuid,
    -- An id of who did it (cli:root, user:<uuid>, key:<uuid>, scheduler), never a name or an address.
    actor text not null,
    action text not null,
    -- Ids and codes of what it was done to, never a name, a phone number, a text or job data.
    subject text not null,
    -- json, not jsonb: the characters stay as they were written, and digests cover them.
    before json,
    after json,
    created_at timestamptz not null default now(),
    constraint audit_entry_actor_length check (char_length(actor) between 1 and 200),
    constraint audit_entry_action_form check (action ~ '^[a-z_]{1,40}\.[a-z_]{1,40}$'),
    constraint audit_entry_subject_length check (char_length(subject) between 1 and 500)
);
-- A tenant's acts in order of time.
create index audit_entry_tenant on audit_entry (tenant_id, audit_entry_id);
-- What is not sealed yet, and what a slice holds.
create index audit_entry_xid on audit_entry (xid);

create trigger audit_entry_refuse_change before update or delete on audit_entry
    for each row execute function refuse_change();
create trigger audit_entry_refuse_truncate before truncate on audit_entry
    for each statement execute function refuse_change();

-- Ledger entries are sealed as they are. Those from before have 0 and are sealed first, in the order of their key.
alter table ledger_entry add column xid bigint not null default 0;
alter table ledger_entry alter column xid set default audit_xid();
-- BRIN: entries lie in the order of their transactions, and the pipeline pays for every byte of an index.
create index ledger_entry_xid on ledger_entry using brin (xid) with (pages_per_range = 32);

-- Deliveries: every change of a notification's status, as the producer was told, one row per batch. Ids only.
create table event_log (
    -- UUIDv7, the range key of the months: a month can be dropped once nobody has to show it any more.
    event_log_id uuid not null,
    xid bigint not null default audit_xid(),
    -- JSON documents, one a line.
    events text not null,
    created_at timestamptz not null default now(),
    primary key (event_log_id)
) partition by range (event_log_id);
create index event_log_xid on event_log (xid);
create trigger event_log_refuse_change before update or delete on event_log
    for each row execute function refuse_change();
create trigger event_log_refuse_truncate before truncate on event_log
    for each statement execute function refuse_change();
-- Lines of JSON shrink to a third, and lz4 is several times faster than the default. Some builds lack it.
do $$ begin
    alter table event_log alter column events set compression lz4;
exception when feature_not_supported then null;
end $$;

-- As in 0003, with event_log; triggers that refuse truncate are not inherited by partitions.
create or replace function ensure_partitions(months integer) returns void language plpgsql as $$
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
                execute format('create table %I partition of %I for values from (%L) to (%L) with (fillfactor = %s)',
                    child, parent, uuid_floor(month),
                    uuid_floor(((month at time zone 'utc') + interval '1 month') at time zone 'utc'),
                    -- Later status events update the row in place (HOT) when its page has room.
                    case parent when 'notification' then 75 else 100 end);
                if parent = 'event_log' then
                    execute format('create trigger event_log_refuse_truncate before truncate on %I
                                    for each statement execute function refuse_change()', child);
                end if;
            end if;
        end loop;
    end loop;
end $$;
select ensure_partitions(6);

-- A slice is a run of rows of one source in the order (xid, tenant, id): from the end of the slice before to its own.
-- The last one says how far is sealed.
create table audit_slice (
    source text not null,
    -- 1, 2, 3 … without a gap.
    number bigint not null,
    to_xid bigint not null,
    to_tenant uuid not null,
    to_id uuid not null,
    -- How many rows all its seals hold.
    row_count integer not null,
    created_at timestamptz not null default now(),
    primary key (source, number),
    constraint audit_slice_source_known check (source in ('act', 'ledger', 'delivery')),
    constraint audit_slice_number_positive check (number > 0),
    constraint audit_slice_row_count_not_negative check (row_count >= 0)
);

-- A seal is the rows of one tenant in one slice, digested together with the seal before: a tenant's chain.
create table audit_seal (
    source text not null,
    -- The nil UUID: rows of the whole service. A key has no nulls.
    tenant_id uuid not null,
    -- 1, 2, 3 … without a gap in the chain.
    number bigint not null,
    slice bigint not null,
    -- For each row, in order: its id and the first 8 bytes of its digest. They name the row that does not fit.
    members bytea not null,
    digest bytea not null,
    created_at timestamptz not null,
    primary key (source, tenant_id, number),
    constraint audit_seal_members_form check (length(members) > 0 and length(members) % 24 = 0),
    constraint audit_seal_digest_length check (length(digest) = 32)
);
create index audit_seal_slice on audit_seal (source, slice);
-- Digests do not compress.
alter table audit_seal alter column members set storage external;

-- Once a day: the last digest of every chain, signed. Kept elsewhere, it proves that no tail was cut off.
create table audit_head (
    number bigint primary key,
    -- UTC.
    day date not null,
    -- For each chain that moved since the head before: source, tenant, number and digest of its last seal.
    chains bytea not null,
    -- Of all of the above and of the head before.
    digest bytea not null,
    -- Ed25519, by the key audit_head of service_key.
    signature bytea not null,
    created_at timestamptz not null,
    constraint audit_head_day_key unique (day),
    constraint audit_head_number_positive check (number > 0)
);

create trigger audit_slice_refuse_change before update or delete on audit_slice
    for each row execute function refuse_change();
create trigger audit_slice_refuse_truncate before truncate on audit_slice
    for each statement execute function refuse_change();
create trigger audit_seal_refuse_change before update or delete on audit_seal
    for each row execute function refuse_change();
create trigger audit_seal_refuse_truncate before truncate on audit_seal
    for each statement execute function refuse_change();
create trigger audit_head_refuse_change before update or delete on audit_head
    for each row execute function refuse_change();
create trigger audit_head_refuse_truncate before truncate on audit_head
    for each statement execute function refuse_change();

-- The outbox keeps what is still to be published; what it says is in the log. Rows of the version before have it here.
alter table event_outbox alter column events drop not null;
