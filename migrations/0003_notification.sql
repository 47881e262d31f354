-- What tenants asked us to tell patients, each attempt to do so, and what Meta reported.

-- The producer's idempotency key, unique for good: it outlives the months that are dropped.
create table notification_key (
    tenant_id uuid not null,
    job_id text not null,
    notification_id uuid not null,
    -- SHA-256 of the content: the same id with other content is rejected.
    content_hash bytea not null,
    primary key (tenant_id, job_id)
);

create table notification (
    tenant_id uuid not null,
    -- UUIDv7, the range key of the months. Meta echoes it, so a status event finds its partition.
    notification_id uuid not null,
    job_id text not null,
    kind text not null,
    category text not null,
    status text not null,
    reason text,
    -- E.164 with +, null once erased; the keyed hash stays.
    recipient text,
    recipient_hash bytea,
    language text not null,
    -- The job's data as JSON text: read whole or not at all, so jsonb would only cost.
    data text,
    price_id bigint,
    price numeric(24, 6),
    currency text,
    -- A reservation of `price` is held: this row is the pending transfer.
    held boolean not null default false,
    -- The price was posted, and perhaps given back.
    posted boolean not null default false,
    refunded boolean not null default false,
    -- The latest attempt's number and start; its row in `attempt` is written when it ends.
    attempt integer not null default 0,
    attempt_started_at timestamptz,
    -- Attempts that count against ATTEMPTS_MAX (throttled ones do not).
    attempts_counted integer not null default 0,
    -- The stream entry that admitted it: only a take-over of the same token means a crash.
    token text not null,
    send_after timestamptz,
    expires_at timestamptz,
    -- When a row is due that waits or is unknown; null once its outcome is known. A first attempt in `sending`
    -- has none either: a notification that goes the ordinary way never touches an indexed column again, so its
    -- updates stay on their page (HOT). The sweep gives one to those that a crash left in `sending`.
    due_at timestamptz,
    -- Grows with each event sent to the producer.
    seq integer not null default 0,
    wamid text,
    -- What Meta says it billed (pricing object of a status event).
    billed_type text,
    billed_category text,
    traceparent text,
    created_at timestamptz not null,
    accepted_at timestamptz,
    sent_at timestamptz,
    delivered_at timestamptz,
    read_at timestamptz,
    failed_at timestamptz,
    unknown_at timestamptz,
    primary key (tenant_id, notification_id),
    constraint notification_status_known check (status in
        ('waiting', 'sending', 'accepted', 'sent', 'delivered', 'read', 'not_sent', 'failed', 'unknown')),
    constraint notification_held_has_price check (not held or price is not null),
    constraint notification_ends_once check (not (held and posted))
) partition by range (notification_id);

-- All notifications of one patient (opt-out, erasure, search by phone).
-- The hash comes first, so that a plan made while a month is empty cannot mistake it for an index of the tenant.
create index notification_recipient on notification (recipient_hash, tenant_id);
-- What waits and what is unknown: the sweep, unknown outcomes.
create index notification_due on notification (due_at) where due_at is not null;
-- Rows lie in the order of their creation: a time is found by a few pages of summary, which cost no insert anything.
create index notification_created on notification using brin (created_at) with (pages_per_range = 32, autosummarize = on);

create table attempt (
    tenant_id uuid not null,
    notification_id uuid not null,
    number integer not null,
    started_at timestamptz not null,
    finished_at timestamptz not null,
    outcome text not null,
    error_code integer,
    error text,
    wamid text,
    -- The template's name at Meta and the text as sent; null where nobody lived to write them. They belong to the
    -- attempt: the next one may be in other words.
    template text,
    message text,
    primary key (tenant_id, notification_id, number),
    constraint attempt_outcome_known check (outcome in
        ('accepted', 'rejected', 'template', 'throttled', 'unavailable', 'unknown', 'sender_blocked', 'wait'))
) partition by range (notification_id);

-- Raw bodies of Meta's webhook: stored before the 200, applied afterwards by workers.
create table webhook_event (
    webhook_event_id uuid primary key,
    received_at timestamptz not null,
    body bytea not null,
    applied_at timestamptz,
    -- Why a body could not be applied; it stays for inspection.
    error text
);
create index webhook_event_open on webhook_event (webhook_event_id) where applied_at is null;

-- Events for producers, written with the change they tell of, one row per batch; deleted once Redis has them.
create table event_outbox (
    event_outbox_id uuid primary key,
    created_at timestamptz not null default now(),
    -- JSON documents, one a line.
    events text compression lz4 not null
);

-- Until when the sweep has looked for rows that a crash left in `sending`.
create table sweep_mark (
    only_row boolean primary key default true,
    swept_until timestamptz not null default now(),
    constraint sweep_mark_only_row check (only_row)
);
insert into sweep_mark default values;

-- Months are named by their first day; a UUIDv7 begins with 48 bits of milliseconds, so a month is a range of ids.
create function uuid_floor(moment timestamptz) returns uuid language sql immutable as $$
    select (lpad(to_hex((extract(epoch from moment) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid
$$;

-- Creates the partitions from last month to `months` ahead. Safe to run by several processes at once, and again.
create function ensure_partitions(months integer) returns void language plpgsql as $$
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
        foreach parent in array array['notification', 'attempt'] loop
            child := parent || '_' || to_char(month at time zone 'utc', 'YYYY_MM');
            if to_regclass(child) is null then
                execute format('create table %I partition of %I for values from (%L) to (%L) with (fillfactor = %s)',
                    child, parent, uuid_floor(month),
                    uuid_floor(((month at time zone 'utc') + interval '1 month') at time zone 'utc'),
                    -- A row and its next version fit one page, even when all of a page change in one transaction.
                    case parent when 'notification' then 50 else 100 end);
            end if;
        end loop;
    end loop;
end $$;
select ensure_partitions(6);
