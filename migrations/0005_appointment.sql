-- The latest version of every appointment that was reported: reminders are planned from it.
create table appointment (
    tenant_id uuid not null,
    -- The producer's id.
    appointment_id text not null,
    version bigint not null,
    status text not null,
    scheduled_at timestamptz not null,
    recipient text,
    language text,
    -- The job's data as JSON text; null once erased.
    data text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, appointment_id),
    constraint appointment_status_known check (status in ('booked', 'moved', 'cancelled'))
);
