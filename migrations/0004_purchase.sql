-- Orders of credit: PENDING until paid, COMPLETED once the credit is granted.

create table purchase (
    -- UUIDv7: in order of time, and not to be guessed from another one.
    purchase_id uuid primary key,
    tenant_id uuid not null references tenant,
    amount numeric(24, 6) not null,
    -- The tenant's when it ordered; a grant in another currency is refused.
    currency text not null,
    -- Who is told that it was paid and that the credit is there.
    email text not null,
    status text not null default 'PENDING',
    -- What the payment provider, or the person who checked the payment, calls it.
    payment_reference text,
    created_by text not null,
    created_at timestamptz not null default now(),
    -- After this it can no longer be paid; the next who looks finds it EXPIRED, whatever the row still says.
    expires_at timestamptz not null default now() + interval '3 days',
    paid_at timestamptz,
    completed_at timestamptz,
    expired_at timestamptz,
    cancelled_at timestamptz,
    constraint purchase_amount_positive check (amount > 0),
    constraint purchase_currency_form check (currency ~ '^[A-Z]{3}$'),
    constraint purchase_email_length check (char_length(email) between 3 and 254),
    constraint purchase_payment_reference_length check (char_length(payment_reference) between 1 and 200),
    constraint purchase_status_known check (status in ('PENDING', 'PAID', 'COMPLETED', 'EXPIRED', 'CANCELLED')),
    constraint purchase_expires_later check (expires_at > created_at),
    -- The timestamps tell the same story as the status.
    constraint purchase_paid_at_matches check ((paid_at is not null) = (status in ('PAID', 'COMPLETED'))),
    constraint purchase_completed_at_matches check ((completed_at is not null) = (status = 'COMPLETED')),
    constraint purchase_expired_at_matches check ((expired_at is not null) = (status = 'EXPIRED')),
    constraint purchase_cancelled_at_matches check ((cancelled_at is not null) = (status = 'CANCELLED'))
);

-- A tenant's purchases, the latest first.
create index purchase_tenant on purchase (tenant_id, purchase_id);
-- What is still to be finished or to expire; few rows at any time.
create index purchase_open on purchase (status, expires_at) where status in ('PENDING', 'PAID');

-- What was ordered never changes, the end is the end, and no purchase goes backwards or is forgotten.
create function refuse_purchase_edit() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE'
       or (new.purchase_id, new.tenant_id, new.amount, new.currency, new.created_at)
          is distinct from (old.purchase_id, old.tenant_id, old.amount, old.currency, old.created_at)
       or (new.status <> old.status
           and (old.status, new.status) not in (('PENDING', 'PAID'), ('PENDING', 'EXPIRED'), ('PENDING', 'CANCELLED'),
                                                ('PAID', 'COMPLETED'))) then
        raise exception 'a purchase never changes but forward in its status' using errcode = 'restrict_violation';
    end if;
    return new;
end $$;
create trigger purchase_refuse_edit before update or delete on purchase
    for each row execute function refuse_purchase_edit();
