-- Reminders: when each tenant wants them, and what is planned for each appointment.

alter table tenant
    add column reminders_on boolean not null default true,
    -- How long before an appointment, in minutes: 24 h and 2 h.
    add column reminder_offsets integer[] not null default '{1440,120}',
    -- The sending window in minutes since midnight, in the tenant's zone: 07:00 to 21:00.
    add column reminder_opens integer not null default 420,
    add column reminder_closes integer not null default 1260,
    add constraint tenant_reminder_offsets_range check (
        cardinality(reminder_offsets) between 1 and 8 and array_position(reminder_offsets, null) is null
        and 1 <= all (reminder_offsets) and 43200 >= all (reminder_offsets)),
    -- An hour at least: summer time swallows no whole window.
    add constraint tenant_reminder_window_form check (
        reminder_opens >= 0 and reminder_closes <= 1440 and reminder_closes - reminder_opens >= 60);

-- One row per reminder of one version of an appointment. It is done when its notification's row exists; until then
-- the scheduler looks at it again and again, so neither a crash nor a lost Redis loses it.
create table reminder (
    -- No foreign key: the pipeline writes it, and must wait for no lock but the account's.
    tenant_id uuid not null,
    appointment_id text not null,
    version bigint not null,
    -- The offset: two may fall on one moment, as the window moves them, and are two rows all the same.
    minutes_before integer not null,
    -- The appointment, as this version has it.
    scheduled_at timestamptz not null,
    -- When it goes: the offset, moved into the window.
    due_at timestamptz not null,
    status text not null default 'planned',
    -- Why it was skipped or withdrawn.
    reason text,
    -- Made of the key: however often it is enqueued, it is one notification.
    job_id text not null,
    -- How often it was enqueued.
    enqueued integer not null default 0,
    -- When the scheduler looks at it next: to enqueue it, to see whether its notification exists, and long after
    -- its end to delete it. One index serves all three.
    next_at timestamptz not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, appointment_id, version, minutes_before),
    constraint reminder_status_known check (status in ('planned', 'enqueued', 'done', 'skipped', 'withdrawn')),
    constraint reminder_reason_matches check ((reason is not null) = (status in ('skipped', 'withdrawn'))),
    constraint reminder_due_before_appointment check (due_at < scheduled_at)
);
create index reminder_next on reminder (next_at);
-- A tenant's reminders in the order in which they go, for lists alone: they name the condition. Without it, a plan that
-- is made while the table is empty takes this index for as good as the primary key, and goes through all of a tenant.
create index reminder_due on reminder (tenant_id, due_at) where due_at > '-infinity';

-- Tenants whose appointments are to be planned anew, as far as the scheduler has come with each.
create table reminder_replan (
    tenant_id uuid primary key,
    -- Appointments up to this one are planned.
    after_appointment text not null default ''
);

-- Whoever changes what plans are made of has them made anew: settings, and the zone of the window.
create function replan_reminders() returns trigger language plpgsql as $$
begin
    insert into reminder_replan (tenant_id) values (new.tenant_id)
    on conflict (tenant_id) do update set after_appointment = '';
    return null;
end $$;
create trigger tenant_replan_reminders after update on tenant for each row
    when ((old.time_zone, old.reminders_on, old.reminder_offsets, old.reminder_opens, old.reminder_closes)
          is distinct from
          (new.time_zone, new.reminders_on, new.reminder_offsets, new.reminder_opens, new.reminder_closes))
    execute function replan_reminders();

-- The version that reminders were planned for. Workers of the program before record appointments without planning:
-- the scheduler finds these by the index, which is empty at all other times.
alter table appointment add column planned_version bigint;
update appointment set planned_version = version where scheduled_at <= now() or status = 'cancelled';
create index appointment_unplanned on appointment (tenant_id) where planned_version is distinct from version;
