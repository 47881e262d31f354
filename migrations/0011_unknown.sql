-- What resolves outcomes that nobody told us: evidence of a sender's webhook, events that came too early, and the
-- record of messages that went out twice.

-- From here on `due_at` is for what waits (and what a crash left in `sending`), `resolve_at` for outcomes.
-- When an outcome is decided about that nobody told us of: an unknown one, or one that was taken on and is never
-- delivered. Null on the ordinary way, so that it costs no update anything (see due_at, which retries have).
alter table notification add column resolve_at timestamptz;
create index notification_resolve on notification (resolve_at) where resolve_at is not null;

-- Since when the tenant sends from this number: what Meta reports of another one says nothing of its messages.
alter table whatsapp_configuration add column sender_since timestamptz not null default now();

create function note_sender_change() returns trigger language plpgsql as $$
begin
    if new.phone_number_id <> old.phone_number_id then
        new.sender_since := now();
    end if;
    return new;
end $$;
create trigger whatsapp_configuration_note_sender before update on whatsapp_configuration
    for each row execute function note_sender_change();

-- How far Meta's webhook is known to report a sender's messages. Written under the lock of the tenant's account.
create table sender_evidence (
    tenant_id uuid not null references tenant,
    phone_number_id text not null,
    -- The end of the latest attempt of which `sent` or `failed` was received and processed: an attempt that ended no
    -- later would have been reported too.
    attempt_ended_at timestamptz,
    -- When a status event was processed last.
    event_at timestamptz not null,
    primary key (tenant_id, phone_number_id)
) with (fillfactor = 50);

-- Status events without our echoed data whose message is not known yet: its answer may still be on its way to us.
create table orphan_event (
    orphan_event_id uuid primary key,
    received_at timestamptz not null,
    -- When it is tried again; after a day it is given up.
    due_at timestamptz not null,
    -- The event, read from its body, as JSON; as text, for jsonb takes no U+0000.
    event text not null
);
create index orphan_event_due on orphan_event (due_at);

-- Messages that reached a patient although another one followed: an operator is told, and nothing is charged twice.
create table duplicate_delivery (
    tenant_id uuid not null,
    notification_id uuid not null,
    -- The earlier attempt.
    attempt integer not null,
    reported_at timestamptz not null default now(),
    primary key (tenant_id, notification_id, attempt)
);

-- When Meta's webhook may have been refused last: a body that was not stored, or a web that was away. What was
-- refused comes again later, so nothing follows from its absence until the window of an unknown outcome is over anew.
alter table sweep_mark add column webhook_refused_at timestamptz;

-- Until when notifications were looked through for messages that were taken and never delivered.
alter table sweep_mark add column undelivered_until timestamptz not null default now();

-- An id that was cancelled before its job was seen has a row without a kind, and a key whose content hash is 32 bytes
-- of zero: whatever comes under that id is found cancelled.
alter table notification alter column kind drop not null;
