-- E-mails to tenants: the outbox. A row is written in the transaction of the change it tells of, and is never deleted.

create table mail (
    -- UUIDv7: in order of time.
    mail_id uuid primary key,
    tenant_id uuid not null references tenant,
    -- What it tells of, as in purchase:<id>:PAID. Unique for good: however often a change is run again, one mail.
    -- The Message-ID is made from it, so that a second copy can be told from a second mail.
    key text not null,
    -- Which templates under templates/mail/ it is written with.
    letter text not null,
    -- The tenant's when the row was written, as are its name and zone: a mail tells of that moment.
    language text not null,
    tenant_name text not null,
    time_zone text not null,
    recipient text not null,
    -- What the letter says, as JSON: facts and no wording, which the scheduler adds when it sends. Rendering inside
    -- the writer's transaction would let a mistake in a template stop a payment.
    data text not null,
    status text not null default 'waiting',
    -- How often it was claimed; the number also tells a late scheduler that its claim is another's by now.
    attempts integer not null default 0,
    -- When it may be claimed. A claim moves it forward by a lease, so one column is both back-off and lease.
    -- Null once the mail has ended.
    due_at timestamptz default now(),
    -- Why the latest attempt did not succeed, in the mail server's words.
    last_error text,
    created_at timestamptz not null default now(),
    -- An attempt that does not succeed after this is the last one; `mail retry` moves it.
    give_up_at timestamptz not null default now() + interval '5 days',
    sent_at timestamptz,
    failed_at timestamptz,
    constraint mail_key_key unique (key),
    constraint mail_key_length check (char_length(key) between 1 and 200),
    constraint mail_language_known check (language in ('id', 'en', 'fr')),
    constraint mail_recipient_length check (char_length(recipient) between 3 and 254),
    constraint mail_status_known check (status in ('waiting', 'sent', 'failed')),
    constraint mail_attempts_not_negative check (attempts >= 0),
    -- The timestamps tell the same story as the status.
    constraint mail_due_at_matches check ((due_at is not null) = (status = 'waiting')),
    constraint mail_sent_at_matches check ((sent_at is not null) = (status = 'sent')),
    constraint mail_failed_at_matches check ((failed_at is not null) = (status = 'failed'))
);

-- What is to be sent, in the order in which it is due: few rows at any time.
create index mail_waiting on mail (due_at, mail_id) where status = 'waiting';
-- What people must look at.
create index mail_failed on mail (mail_id) where status = 'failed';
-- A tenant's mails.
create index mail_tenant on mail (tenant_id, mail_id);
