-- What Meta holds against senders and their templates: blocks, states of templates, alerts.

-- Why a sender is blocked, in our word: it says what a person must do (see src/whatsapp/fault.rs).
alter table whatsapp_configuration
    add column blocked_reason text
    constraint whatsapp_configuration_blocked_reason_known check (blocked_reason in ('token', 'account', 'payment'));

-- What happened to a sender: told by Meta, or met while sending. Operators read it; what is to be told by mail is
-- claimed by the scheduler. Kept for 90 days.
create table sender_event (
    sender_event_id bigint generated always as identity primary key,
    tenant_id uuid not null references tenant,
    -- Meta's time where it names one, else when it arrived.
    at timestamptz not null,
    kind text not null,
    severity text not null,
    -- What it is about within its kind: one mail per tenant, kind and reason in six hours.
    reason text not null,
    -- Meta's words, bounded, without phone numbers.
    detail text,
    -- A digest of all above: Meta delivers at least once, and a second delivery is no second event.
    key text not null,
    -- To be told by mail; taken back when there is nothing left to tell.
    alert boolean not null default false,
    told_at timestamptz,
    created_at timestamptz not null default now(),
    constraint sender_event_key_key unique (tenant_id, key),
    constraint sender_event_severity_known check (severity in ('critical', 'warning', 'info')),
    constraint sender_event_kind_form check (kind ~ '^[a-z_]{1,40}$'),
    constraint sender_event_reason_length check (char_length(reason) between 1 and 600),
    constraint sender_event_detail_length check (char_length(detail) <= 600)
);
-- What is to be told: few rows at any time.
create index sender_event_alert on sender_event (sender_event_id) where alert and told_at is null;
-- What was told lately, and what is old enough to go.
create index sender_event_told on sender_event (tenant_id, told_at) where told_at is not null;
create index sender_event_created on sender_event (created_at);

-- A block begins and ends in several places (an answer of Meta, a new token, an operator), and is told once: the row
-- that changes tells it, in the transaction that changes it. The event is that of src/notification/event.rs without
-- a notification. Nobody has it in memory, so its outbox row is old from birth: the next sweep publishes it.
create function tell_sender_block() returns trigger language plpgsql as $$
declare
    word text := case when new.blocked_at is null then 'sender_unblocked' else 'sender_blocked' end;
    why text := coalesce(case when new.blocked_at is null then old.blocked_reason else new.blocked_reason end, 'account');
    -- A UUIDv7: the log's months are ranges of them.
    id uuid := (left(replace(uuid_floor(clock_timestamp())::text, '-', ''), 12) || '7'
                || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid;
    event text;
begin
    insert into sender_event (tenant_id, at, kind, severity, reason, detail, key, alert)
    values (new.tenant_id, now(), word, case when new.blocked_at is null then 'info' else 'critical' end, why,
            left(concat_ws(': ', new.blocked_code, new.blocked_detail), 600), word || ':' || id, new.blocked_at is not null);
    select json_build_object('tenant', code, 'id', null, 'notification', null, 'seq', 0, 'status', word, 'reason', why,
                             'at', to_char(now() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))::text
        into event from tenant where tenant_id = new.tenant_id;
    insert into event_log (event_log_id, events) values (id, event);
    insert into event_outbox (event_outbox_id, created_at) values (id, now() - interval '1 hour');
    return null;
end $$;
create trigger whatsapp_configuration_tell_block after update of blocked_at on whatsapp_configuration
    for each row when ((old.blocked_at is null) <> (new.blocked_at is null)) execute function tell_sender_block();

-- What is known of a template at Meta, per tenant and WhatsApp business account. A tenant that changes its account
-- keeps the rows of the old one, which nothing reads meanwhile. Absent means unknown, and does not block.
create table template_state (
    tenant_id uuid not null references tenant,
    waba_id text not null,
    name text not null,
    language text not null,
    state text not null default 'unknown',
    reason text,
    -- Meta's time of the state (of a refused message: when its attempt began), and the body that told it: Meta's order
    -- is not guaranteed, its times are whole seconds, and the newest counts.
    changed_at timestamptz,
    arrival uuid not null default '00000000-0000-0000-0000-000000000000',
    -- Who said so: `webhook`, `list` (asked for), or `send` (a message was refused; tried again now and then).
    source text not null default 'webhook',
    category text,
    category_changed_at timestamptz,
    -- Announced by Meta, and for when.
    category_next text,
    category_next_at timestamptz,
    quality text,
    quality_changed_at timestamptz,
    updated_at timestamptz not null default now(),
    primary key (tenant_id, waba_id, name, language),
    constraint template_state_name_length check (char_length(name) between 1 and 512),
    constraint template_state_language_length check (char_length(language) between 1 and 16),
    constraint template_state_state_form check (state ~ '^[a-z_]{1,32}$'),
    constraint template_state_source_known check (source in ('webhook', 'list', 'send'))
);

-- Admission must see what holds a template back, and that nothing does any more; nothing else is its concern.
create function touch_tenant_of_template() returns trigger language plpgsql as $$
declare
    holds constant text[] := '{rejected,paused,disabled,missing}';
begin
    if tg_op = 'INSERT' then
        if new.state <> all (holds) then return null; end if;
    elsif (old.state, old.source) = (new.state, new.source) or (old.state <> all (holds) and new.state <> all (holds)) then
        return null;
    end if;
    update tenant set updated_at = now() where tenant_id = new.tenant_id;
    return null;
end $$;
create trigger template_state_touch_tenant after insert or update on template_state
    for each row execute function touch_tenant_of_template();
