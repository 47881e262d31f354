-- A patient's data ends when the tenant's days are over, or when the patient asks for it. What was counted and paid
-- stays.

-- Up to which notification a tenant's patient data was erased; ids are UUIDv7, so this is the order of admission.
create table erasure_mark (
    tenant_id uuid primary key references tenant,
    erased_until uuid not null
);

-- Notifications that were open when their time had come, or when a patient asked: their data is needed until their
-- outcome is known, and goes then.
create table erasure_pending (
    tenant_id uuid not null,
    notification_id uuid not null,
    primary key (tenant_id, notification_id)
);

-- Appointments whose data has not ended yet, by when they take place: found without going through all of a tenant's.
create index appointment_erasable on appointment (tenant_id, scheduled_at) where data is not null;
