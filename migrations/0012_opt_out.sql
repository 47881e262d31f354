-- Patients who want no messages of a tenant, or no marketing. A phone is known here by its keyed hash and by nothing
-- else, so that a patient whose data was erased stays opted out.

create table opt_out (
    -- No foreign key: the pipeline writes it, and must wait for no lock but the account's.
    tenant_id uuid not null,
    -- As in notification.recipient_hash.
    recipient_hash bytea not null,
    scope text not null,
    -- False: messages are wanted again. The row stays, so that an older STOP that comes late changes nothing.
    stopped boolean not null,
    -- When it was said, in whole seconds, as Meta tells time. The latest word counts; of two in one second, the one
    -- that stops.
    said_at timestamptz not null,
    -- Who said it: `keyword` (the patient, by STOP or START), `meta`, or whoever of the staff entered it (`cli:root`).
    source text not null,
    primary key (tenant_id, recipient_hash, scope),
    constraint opt_out_recipient_hash_length check (octet_length(recipient_hash) = 16),
    constraint opt_out_scope_known check (scope in ('all', 'marketing')),
    constraint opt_out_source_length check (char_length(source) between 1 and 200)
);

-- Set with a tenant's first opt-out, and never cleared: admission looks for opt-outs of these tenants only. It lies
-- here because admission locks and reads this row anyway, so whoever holds the lock knows it as it is.
alter table account add column has_opt_outs boolean not null default false;
