-- Resends of many that people start in the console: what was confirmed, and how far it is.
--
-- Schedulers do them batch by batch. What is written here is written in the transaction of its batch, so a process
-- that dies leaves a row from which any other goes on, and nothing is counted or sent twice.

create table bulk_resend (
    bulk_resend_id uuid primary key,
    tenant_id uuid not null references tenant,
    -- Which notifications; nothing here names a patient.
    status text not null,
    reason text,
    kind text,
    since timestamptz,
    until timestamptz not null,
    -- What the page said before somebody confirmed it.
    matching bigint not null,
    resendable bigint not null,
    cost numeric(24, 6) not null,
    -- What the tenant could spend then: the run goes no further.
    available numeric(24, 6) not null,
    started_by text not null,
    started_at timestamptz not null default now(),
    -- Where the next batch begins.
    after_id uuid not null default '00000000-0000-0000-0000-000000000000',
    -- The price of all that could be sent so far, covered or not: what is compared with `available`.
    judged numeric(24, 6) not null default 0,
    resent bigint not null default 0,
    resent_cost numeric(24, 6) not null default 0,
    -- How many were skipped, by why: {"expired": 3}.
    skipped jsonb not null default '{}',
    moved_at timestamptz not null default now(),
    -- A scheduler is at a batch until then; whoever claims it later has another moment here.
    leased_until timestamptz not null default 'epoch',
    ended_at timestamptz,
    -- How it ended.
    ending text,
    constraint bulk_resend_status_known check (status in ('not_sent', 'failed', 'unknown')),
    constraint bulk_resend_ending_known check (ending in ('done', 'cancelled')),
    constraint bulk_resend_ended_with_ending check ((ended_at is null) = (ending is null)),
    constraint bulk_resend_started_by_length check (char_length(started_by) between 1 and 200)
);
-- One at a time: two would count on the same credit.
create unique index bulk_resend_open_key on bulk_resend (tenant_id) where ended_at is null;
create index bulk_resend_tenant on bulk_resend (tenant_id, bulk_resend_id);

select protect_tables();
