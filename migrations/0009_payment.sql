-- Payments that a gateway reports, and jobs of our own that wait for their way into Redis.

-- Who confirmed the payment: the grant names this person or gateway, also when the scheduler makes it after a crash.
-- Null on purchases that were paid before this migration.
alter table purchase add column paid_by text;

-- Every authenticated payment event, what became of it, and the proof for it: money is argued about for years.
create table payment_event (
    -- UUIDv7: in order of time.
    payment_event_id uuid primary key,
    -- Null when it names no purchase of ours.
    tenant_id uuid references tenant,
    purchase_id uuid references purchase,
    -- The gateway's id of this event, its idempotency key.
    event_id text not null,
    -- SHA-256 of the fields below as they were read: a repetition may be spelled otherwise.
    content_hash bytea not null,
    -- The purchase as it was named, which need not exist, nor be an id at all.
    named_purchase text not null,
    -- Without limits of digits: a wrong amount is kept exactly as it was reported.
    amount numeric not null,
    currency text not null,
    status text not null,
    paid_at timestamptz not null,
    reference text not null,
    -- Why nothing was paid by it; null: it was accepted.
    refusal text,
    received_at timestamptz not null default now(),
    constraint payment_event_event_id_length check (char_length(event_id) between 1 and 128),
    constraint payment_event_refusal_known check (refusal in
        ('unknown_purchase', 'not_paid', 'currency_mismatch', 'amount_mismatch', 'already_paid', 'expired',
         'cancelled', 'event_id_reused')),
    constraint payment_event_accepted_has_purchase check (refusal is not null or purchase_id is not null),
    constraint payment_event_purchase_has_tenant check ((purchase_id is null) = (tenant_id is null))
);
-- An event is recorded once, however often it is delivered.
create unique index payment_event_content_key on payment_event (event_id, content_hash);
-- The first content under an id is that event; any other content under it is refused, and recorded as that.
create unique index payment_event_event_id_key on payment_event (event_id)
    where refusal is distinct from 'event_id_reused';
-- A purchase is paid by one event, whatever the application believes.
create unique index payment_event_accepted_key on payment_event (purchase_id) where refusal is null;
-- What people must look at, and a tenant's payments, the latest first.
create index payment_event_refused on payment_event (payment_event_id) where refusal is not null;
create index payment_event_tenant on payment_event (tenant_id, payment_event_id);

create trigger payment_event_refuse_change before update or delete on payment_event
    for each row execute function refuse_change();
create trigger payment_event_refuse_truncate before truncate on payment_event
    for each statement execute function refuse_change();

-- Jobs of our own, written with the change they tell of; the scheduler puts them into Redis and deletes them once
-- Redis has them. A job that is put there twice is one notification, by its id.
create table job_outbox (
    -- UUIDv7: in order of time, and so enqueued in order.
    job_outbox_id uuid primary key,
    tenant_id uuid not null,
    -- The job as one line of JSON, as producers write it.
    job text not null,
    created_at timestamptz not null default now()
);
