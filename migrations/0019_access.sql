-- Row-level security: no statement of a tenant's request can touch another tenant's rows, whatever it says.
-- And the keys by which a tenant's machines use the API.

-- Two roles of the whole cluster, in which nobody logs in. Whoever is a member of kmsnotif_pipeline sees all tenants
-- (worker, scheduler, commands); what takes kmsnotif_tenant sees the one that app.tenant_id names.
-- The user that migrates becomes a member of both. Safe to run again, and by several databases at once.
create function ensure_roles() returns void language plpgsql as $$
declare
    wanted text;
    options text;
begin
    foreach wanted in array array['kmsnotif_pipeline', 'kmsnotif_tenant'] loop
        if to_regrole(wanted) is null then
            begin
                execute format('create role %I nologin', wanted);
            exception
                -- Another database of this cluster was faster; it was waited for.
                when duplicate_object or unique_violation then null;
                when insufficient_privilege then
                    raise exception 'the role % is missing and % may not create roles: as a superuser run `create role kmsnotif_pipeline nologin; create role kmsnotif_tenant nologin; grant kmsnotif_pipeline, kmsnotif_tenant to %`, then migrate again',
                        wanted, current_user, quote_ident(current_user) using errcode = 'insufficient_privilege';
            end;
        end if;
        -- To be passed by its policies, and to be taken by `set local role`; since 16 these are two things.
        options := case when current_setting('server_version_num')::int >= 160000
            then ' with inherit true, set true' else '' end;
        for try in 1 .. 20 loop
            -- A superuser is a member of everything, but need not stay one.
            exit when exists (select from pg_auth_members
                where roleid = to_regrole(wanted) and member = (select oid from pg_roles where rolname = current_user)
                  and (options = '' or (to_jsonb(pg_auth_members) ->> 'inherit_option')::boolean
                                    and (to_jsonb(pg_auth_members) ->> 'set_option')::boolean));
            begin
                execute format('grant %I to current_user%s', wanted, options);
            exception
                -- Another database grants at the same moment ("tuple concurrently updated").
                when unique_violation or internal_error then perform pg_sleep(0.01);
                when insufficient_privilege then
                    raise exception '% is no member of the role % and may not become one: as a superuser run `grant kmsnotif_pipeline, kmsnotif_tenant to %`, then migrate again',
                        current_user, wanted, quote_ident(current_user) using errcode = 'insufficient_privilege';
            end;
        end loop;
    end loop;
end $$;

-- Protects one table that has a tenant_id. What is done already is not done again, so it locks nothing then.
-- Forced: the owner of the tables, as whom the service usually logs in, passes as a member and not as the owner.
create function protect_table(protected regclass) returns void language plpgsql as $$
declare
    is_partition boolean;
begin
    select relispartition into is_partition from pg_class
    where oid = protected and not (relrowsecurity and relforcerowsecurity);
    if found then
        execute format('alter table %s enable row level security, force row level security', protected);
    end if;
    select relispartition into strict is_partition from pg_class where oid = protected;
    -- `true` is gone before a plan is made: the pipeline pays nothing per row.
    if not exists (select from pg_policy where polrelid = protected and polname = 'pipeline') then
        execute format('create policy pipeline on %s to kmsnotif_pipeline using (true)', protected);
    end if;
    -- Without app.tenant_id it is an error and not an empty answer: somebody forgot to say whose request it is.
    if not exists (select from pg_policy where polrelid = protected and polname = 'tenant') then
        execute format('create policy tenant on %s to kmsnotif_tenant
            using (tenant_id = current_setting(''app.tenant_id'')::uuid)', protected);
    end if;
    -- Months are reached through their parent, whose rights and policies count then.
    if not is_partition and not has_table_privilege('kmsnotif_tenant', protected, 'delete') then
        execute format('grant select, insert, update, delete on %s to kmsnotif_tenant', protected);
    end if;
end $$;

-- Protects every table that has a tenant_id. A migration that makes one ends with `select protect_tables()`;
-- `kmsnotif migrate` runs it each time, for a dump that was restored before the roles were there.
create function protect_tables() returns void language plpgsql as $$
declare
    here text := quote_ident(current_schema());
begin
    -- Two that grant on one table at once would fail; ensure_partitions makes tables under the same lock.
    perform pg_advisory_xact_lock(hashtext('kmsnotif.ensure_partitions'));
    perform ensure_roles();
    execute format('grant usage on schema %s to kmsnotif_pipeline, kmsnotif_tenant', here);
    execute format('grant select, insert, update, delete on all tables in schema %s to kmsnotif_pipeline', here);
    execute format('alter default privileges in schema %s
        grant select, insert, update, delete on tables to kmsnotif_pipeline', here);
    perform protect_table(c.oid) from pg_class c join pg_attribute a on a.attrelid = c.oid
    where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p')
      and a.attname = 'tenant_id' and not a.attisdropped
    -- Parents first, and always in one order.
    order by c.relispartition, c.relname;
    -- What belongs to no tenant: prices for all to read, and what tells others of a change to write and not to read.
    grant select on price, price_revision, price_use, ledger_day_mark, sweep_mark, template_account to kmsnotif_tenant;
    grant insert on event_log, event_outbox to kmsnotif_tenant;
end $$;

-- As in 0014, and each month is protected before it is attached: a detached one stays so.
create or replace function ensure_partitions(months integer) returns void language plpgsql
    set lock_timeout = '5s' as $$
declare
    month timestamptz;
    parent text;
    child text;
begin
    perform pg_advisory_xact_lock(hashtext('kmsnotif.ensure_partitions'));
    for month in
        select generate_series(date_trunc('month', now() at time zone 'utc') - interval '1 month',
                               date_trunc('month', now() at time zone 'utc') + make_interval(months => months),
                               interval '1 month') at time zone 'utc'
    loop
        foreach parent in array array['notification', 'attempt', 'event_log'] loop
            child := parent || '_' || to_char(month at time zone 'utc', 'YYYY_MM');
            if to_regclass(child) is null then
                execute format('create table %I (like %I including defaults including constraints including storage
                                including compression) with (fillfactor = %s)',
                    child, parent,
                    -- A row and its next version fit one page, even when all of a page change in one transaction
                    -- (0003; 0007 took the number of the version before).
                    case parent when 'notification' then 50 else 100 end);
                if parent = 'event_log' then
                    execute format('create trigger event_log_refuse_truncate before truncate on %I
                                    for each statement execute function refuse_change()', child);
                else
                    perform protect_table(child::regclass);
                end if;
                execute format('alter table %I attach partition %I for values from (%L) to (%L)',
                    parent, child, uuid_floor(month),
                    uuid_floor(((month at time zone 'utc') + interval '1 month') at time zone 'utc'));
            end if;
        end loop;
    end loop;
end $$;

-- Keys of tenants' machines. A key is 256 random bits, so a plain digest of it can be stored and looked up.
create table api_key (
    api_key_id uuid primary key,
    tenant_id uuid not null references tenant,
    -- What people call it: the machine that has it.
    name text not null,
    -- SHA-256 of the key as it is sent. The key itself is shown once and stored nowhere.
    hash bytea not null,
    -- What it may do.
    scopes text[] not null,
    created_at timestamptz not null default now(),
    created_by text not null,
    -- Written now and then and not per request: a minute or two may be missing.
    last_used_at timestamptz,
    -- It is never deleted: the audit names it.
    revoked_at timestamptz,
    constraint api_key_hash_key unique (hash),
    constraint api_key_hash_length check (length(hash) = 32),
    constraint api_key_name_length check (char_length(name) between 1 and 100),
    constraint api_key_created_by_length check (char_length(created_by) between 1 and 200),
    constraint api_key_scopes_known check (
        cardinality(scopes) > 0 and scopes <@
        '{notification:submit,notification:read,notification:cancel,credit:read,purchase:create}'::text[])
);
-- A tenant's keys; one name is one key, and a revoked one makes room.
create unique index api_key_name_key on api_key (tenant_id, name) where revoked_at is null;
create index api_key_tenant on api_key (tenant_id, api_key_id);

-- Beside a service at work: tables are locked in the order in which the service locks them (docs/ARCHITECTURE.md), so
-- that nobody waits for each other in a circle; and not for long, for the service waits behind this.
set local lock_timeout = '10s';
lock table orphan_event, job_outbox, reminder, reminder_replan, account, purchase, tenant, whatsapp_configuration,
    notification_key, opt_out, notification, attempt in access exclusive mode;
select protect_tables();
