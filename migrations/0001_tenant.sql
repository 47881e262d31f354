-- Hospitals and clinics, and what is theirs: settings, WhatsApp configuration, credit.

create table tenant (
    -- UUIDv7: tenants can move between cells without a clash of ids.
    tenant_id uuid primary key,
    -- What producers write into jobs and people type; never changes.
    code text not null,
    name text not null,
    country text not null,
    currency text not null,
    time_zone text not null,
    language text not null,
    alert_email text,
    finance_phone text,
    -- A warning is due when available credit falls below it; null: no warning.
    low_balance_threshold numeric(24, 6),
    -- Patient data of a notification is erased after this many days.
    retention_days integer not null default 365,
    -- The WhatsApp_Notification switch of the product, as a whole and per kind.
    whatsapp_on boolean not null default true,
    kinds_off text[] not null default '{}',
    -- Grows with every change of this row or of the configuration: processes cache settings by it.
    revision bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint tenant_code_key unique (code),
    constraint tenant_code_form check (code ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    constraint tenant_name_length check (char_length(name) between 1 and 200),
    constraint tenant_country_form check (country ~ '^[A-Z]{2}$'),
    constraint tenant_currency_form check (currency ~ '^[A-Z]{3}$'),
    constraint tenant_language_known check (language in ('id', 'en', 'fr')),
    constraint tenant_low_balance_not_negative check (low_balance_threshold >= 0),
    constraint tenant_retention_range check (retention_days between 1 and 36500)
);

create table whatsapp_configuration (
    -- One sender per tenant, as in the product's Configuration page.
    tenant_id uuid primary key references tenant,
    sender text not null,
    phone_number_id text not null,
    waba_id text not null,
    country text not null,
    currency text not null,
    -- Messages a second that Meta allows this sender.
    rate integer not null default 80,
    active boolean not null default true,
    -- XChaCha20-Poly1305, nonce first; the tenant's id is the associated data.
    token_key_id text not null,
    token_sealed bytea not null,
    -- Set while Meta refuses this sender as a whole (token, account, payment); its jobs wait.
    blocked_at timestamptz,
    blocked_code integer,
    blocked_detail text,
    updated_at timestamptz not null default now(),
    constraint whatsapp_configuration_sender_form check (sender ~ '^\+[1-9][0-9]{5,14}$'),
    constraint whatsapp_configuration_phone_number_id_form check (phone_number_id ~ '^[0-9A-Za-z_-]{1,64}$'),
    constraint whatsapp_configuration_waba_id_form check (waba_id ~ '^[0-9A-Za-z_-]{1,64}$'),
    constraint whatsapp_configuration_country_form check (country ~ '^[A-Z]{2}$'),
    constraint whatsapp_configuration_currency_form check (currency ~ '^[A-Z]{3}$'),
    constraint whatsapp_configuration_rate_range check (rate between 1 and 1000000)
);

-- The webhook names the sender by Meta's id.
create index whatsapp_configuration_phone_number_id on whatsapp_configuration (phone_number_id);

-- Any change that admission must see raises the tenant's revision in the same transaction.
create function bump_tenant_revision() returns trigger language plpgsql as $$
begin
    new.revision := old.revision + 1;
    new.updated_at := now();
    return new;
end $$;
create trigger tenant_bump_revision before update on tenant for each row execute function bump_tenant_revision();

create function touch_tenant() returns trigger language plpgsql as $$
begin
    update tenant set updated_at = now() where tenant_id = new.tenant_id;
    return null;
end $$;
create trigger whatsapp_configuration_touch_tenant after insert or update on whatsapp_configuration
    for each row execute function touch_tenant();

-- Random keys the service makes for itself (the HMAC key of phone numbers), sealed by KMSNOTIF_SECRET_KEYS.
-- They live here so that rotating the environment's keys never changes a hash.
create table service_key (
    name text primary key,
    key_id text not null,
    sealed bytea not null,
    created_at timestamptz not null default now()
);
