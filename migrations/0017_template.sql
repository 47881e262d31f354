-- Tenants' own templates, the language a message went out in, and when templates are asked for at Meta.

-- A tenant's own text of a kind in a language, in the place of ours. Checked when it is entered and compiled by
-- workers; category, header, footer and examples stay ours.
create table template_override (
    tenant_id uuid not null references tenant,
    kind text not null,
    language text not null,
    -- The name at Meta; null: ours. Ours is enough where the account is the tenant's alone.
    name text,
    -- The Tera file as it was entered.
    body text not null,
    updated_at timestamptz not null default now(),
    -- Who entered it (`cli:root`).
    updated_by text not null,
    primary key (tenant_id, kind, language),
    -- At Meta a name and language is one template, so one text.
    constraint template_override_name_key unique (tenant_id, name, language),
    constraint template_override_kind_form check (kind ~ '^[a-z_]{1,64}$'),
    constraint template_override_language_known check (language in ('id', 'en', 'fr')),
    constraint template_override_name_form check (name ~ '^[a-z0-9_]+$' and char_length(name) <= 512),
    constraint template_override_body_length check (octet_length(body) between 1 and 16384),
    constraint template_override_updated_by_length check (char_length(updated_by) between 1 and 200)
);

-- Workers must see it with the next job: the tenant's revision says that what they cached is old.
create function touch_tenant_of_template_override() returns trigger language plpgsql as $$
begin
    update tenant set updated_at = now() where tenant_id = coalesce(new.tenant_id, old.tenant_id);
    return null;
end $$;
create trigger template_override_touch_tenant after insert or update or delete on template_override
    for each row execute function touch_tenant_of_template_override();

-- The language the text was in: the notification keeps the one that was asked for, and where its template may not be
-- sent the message goes in another. Null where nobody lived to write the text, and before this migration.
alter table attempt add column language text;

-- When an account's templates are asked for again. Per account and not per tenant: clinics may share one, and Meta's
-- limit of requests is the account's.
create table template_account (
    waba_id text primary key,
    -- Whoever asks moves it on before asking, so no two schedulers ask at once.
    due_at timestamptz not null,
    listed_at timestamptz,
    -- Failures in a row, and what the last one said; without a success it is asked for less and less often.
    failures integer not null default 0,
    error text,
    constraint template_account_waba_id_length check (char_length(waba_id) between 1 and 64),
    constraint template_account_failures_sign check (failures >= 0),
    constraint template_account_error_length check (char_length(error) <= 600)
);
create index template_account_due on template_account (due_at);
