-- Who did what, when; before and after. Append-only; what is committed is sealed into chains of digests.

create table audit_entry (
    -- UUIDv7: in order of time, so the key serves lists.
    audit_entry_id uuid primary key,
    -- The transaction that wrote it: sealing takes what is older than every transaction still open.
    xid xid8 not null default pg_current_xact_id(),
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

create trigger audit_entry_refuse_change before update or delete on audit_entry
    for each row execute function refuse_change();
create trigger audit_entry_refuse_truncate before truncate on audit_entry
    for each statement execute function refuse_change();
