-- Log-in by an OpenID Connect provider: whom it knows as which user, and log-ins that are under way.

-- Who logs in by the provider alone has no password, and so no day when it was set.
alter table console_user alter column password_hash drop not null;
alter table console_user alter column password_changed_at drop not null;
alter table console_user add constraint console_user_password_has_its_day
    check ((password_hash is null) = (password_changed_at is null));

-- A person at a provider and the user that it is here. The e-mail address finds the user once; from then on the
-- provider's own id does, for addresses are changed there, and given to others.
-- Whoever logs in is not known yet, so no tenant is: as with console_session, the user has it.
create table console_identity (
    -- OIDC_ISSUER and the claim `sub`, as they came: both are compared by their bytes.
    issuer text not null,
    subject text not null,
    user_id uuid not null references console_user,
    linked_at timestamptz not null default now(),
    primary key (issuer, subject),
    -- One person at a provider is one user here, and the other way round: a second one is refused, not let in.
    constraint console_identity_user_once unique (user_id, issuer),
    constraint console_identity_lengths check (char_length(issuer) <= 2000 and char_length(subject) between 1 and 255)
);

-- Log-ins that were sent to the provider and did not come back yet; what comes back is deleted, so it counts once.
create table oidc_login (
    -- SHA-256 of the state in the address, and of the word in the browser's cookie: a reader of this table can end
    -- no log-in, for which both are needed.
    state_hash bytea primary key,
    browser_hash bytea not null,
    nonce text not null,
    -- PKCE (RFC 7636): what proves to the provider that who began the log-in ends it.
    verifier text not null,
    -- The page to come back to, and the language in which a refusal is told.
    next text not null,
    language text not null,
    expires_at timestamptz not null,
    constraint oidc_login_hash_lengths check (octet_length(state_hash) = 32 and octet_length(browser_hash) = 32),
    constraint oidc_login_lengths
        check (octet_length(nonce) <= 128 and octet_length(verifier) <= 128 and octet_length(next) <= 1000),
    constraint oidc_login_language_known check (language in ('id', 'en', 'fr'))
);
-- What nobody came back with is deleted by who begins next.
create index oidc_login_expires on oidc_login (expires_at);

select protect_tables();
