-- People who log in to the console, their sessions, and what holds off those who guess passwords.

-- `user` is a word of SQL. Rows are never deleted: the audit names people by their ids.
create table console_user (
    user_id uuid primary key,
    -- What people log in with, in lower case, so that nobody is two users.
    email text not null,
    role text not null,
    -- Whose user it is; administrators and support are nobody's.
    tenant_id uuid references tenant,
    language text not null,
    -- A PHC string of argon2id, which carries its own salt and costs.
    password_hash text not null,
    -- Sessions carry it; one that carries an older one has ended (password changed, user disabled).
    epoch integer not null default 1,
    disabled_at timestamptz,
    last_login_at timestamptz,
    password_changed_at timestamptz not null default now(),
    created_at timestamptz not null default now(),
    created_by text not null,
    constraint console_user_email_key unique (email),
    constraint console_user_email_form check (char_length(email) between 3 and 254 and email = lower(email)),
    constraint console_user_role_known check (role in ('administrator', 'tenant_admin', 'finance', 'support')),
    constraint console_user_tenant_matches_role check ((tenant_id is not null) = (role in ('tenant_admin', 'finance'))),
    constraint console_user_language_known check (language in ('id', 'en', 'fr')),
    constraint console_user_created_by_length check (char_length(created_by) between 1 and 200)
);
create index console_user_tenant on console_user (tenant_id, user_id);

create table console_session (
    -- SHA-256 of the id in the cookie: who reads this table (a dump) can log in as nobody.
    session_hash bytea primary key,
    user_id uuid not null references console_user,
    data text not null,
    expires_at timestamptz not null,
    constraint console_session_hash_length check (octet_length(session_hash) = 32),
    constraint console_session_data_length check (octet_length(data) <= 16384)
);
create index console_session_user on console_session (user_id);
-- What has expired is deleted by who logs in next.
create index console_session_expires on console_session (expires_at);

-- Tries to log in per key (an account, an address, both) within a window. Keys are digests: no address is kept.
create table login_try (
    key bytea primary key,
    tries integer not null,
    window_ends_at timestamptz not null,
    constraint login_try_key_length check (octet_length(key) = 32)
);
create index login_try_window on login_try (window_ends_at);

-- How many notifications of a tenant came to each status on a day: what a dashboard shows without reading them.
-- Added up by the scheduler from event_log, so the pipeline pays nothing for it.
create table notification_day (
    tenant_id uuid not null,
    -- The tenant's local day, by the time zone that it had when it was counted.
    day date not null,
    status text not null,
    -- Changes to this status; what is tried again comes to some of them several times.
    event_count bigint not null,
    primary key (tenant_id, day, status),
    constraint notification_day_count_positive check (event_count > 0)
) with (fillfactor = 70);

-- How far event_log is counted: rows of transactions below `xid` are, each once (as ledger_day_mark, 0008).
create table notification_day_mark (
    only_row boolean primary key default true,
    xid bigint not null,
    constraint notification_day_mark_only_row check (only_row)
);
-- From now on: counting what a database of years holds would take hours, and nobody asks.
insert into notification_day_mark (xid) values (audit_xmin());

select protect_tables();
