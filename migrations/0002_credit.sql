-- Prices with effective dates, and the ledger: one row per tenant of balances, one immutable row per transfer.

create table price (
    price_id bigint generated always as identity primary key,
    country text not null,
    currency text not null,
    category text not null,
    -- In force from local midnight of this date, in the time zone of the tenant that sends.
    effective_date date not null,
    price numeric(24, 6) not null,
    -- Rows are never edited; a future one may be withdrawn.
    withdrawn_at timestamptz,
    created_at timestamptz not null default now(),
    created_by text not null,
    constraint price_country_form check (country ~ '^[A-Z]{2}$'),
    constraint price_currency_form check (currency ~ '^[A-Z]{3}$'),
    constraint price_category_known check (
        category in ('marketing', 'utility', 'authentication', 'authentication_international', 'service')),
    constraint price_not_negative check (price >= 0)
);
-- The same date twice is refused; a withdrawn row makes room.
create unique index price_date_key on price (country, currency, category, effective_date) where withdrawn_at is null;

-- The last local date on which a notification was priced: a price may not be set on or before it.
create table price_use (
    country text not null,
    currency text not null,
    category text not null,
    last_date date not null,
    primary key (country, currency, category)
);

-- Grows with every change of prices: processes cache the price list by it.
create table price_revision (
    only_row boolean primary key default true,
    revision bigint not null default 1,
    constraint price_revision_only_row check (only_row)
);
insert into price_revision default values;

create function bump_price_revision() returns trigger language plpgsql as $$
begin
    update price_revision set revision = revision + 1;
    return null;
end $$;
create trigger price_bump_revision after insert or update or delete on price
    for each statement execute function bump_price_revision();

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only', tg_table_name using errcode = 'restrict_violation';
end $$;

create function refuse_price_edit() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' or old.withdrawn_at is not null
       or (new.price_id, new.country, new.currency, new.category, new.effective_date, new.price)
          is distinct from (old.price_id, old.country, old.currency, old.category, old.effective_date, old.price) then
        raise exception 'price rows are never edited' using errcode = 'restrict_violation';
    end if;
    return new;
end $$;
create trigger price_refuse_edit before update or delete on price for each row execute function refuse_price_edit();

-- The balances of one tenant. Every column is credits minus debits, so their sum is zero.
-- Whoever changes money or the status of a tenant's notification holds this row's lock: it is the tenant's mutex.
create table account (
    tenant_id uuid primary key references tenant,
    currency text not null,
    -- Free to be reserved.
    available numeric(24, 6) not null default 0,
    -- Held by open notifications: the sum of their prices.
    reserved numeric(24, 6) not null default 0,
    spent numeric(24, 6) not null default 0,
    -- Contra accounts, of the tenant too: no row that all tenants queue on.
    purchased numeric(24, 6) not null default 0,
    adjusted numeric(24, 6) not null default 0,
    constraint account_available_not_negative check (available >= 0),
    constraint account_reserved_not_negative check (reserved >= 0),
    constraint account_sums_to_zero check (available + reserved + spent + purchased + adjusted = 0)
) with (fillfactor = 40);  -- Updated by every batch: room for HOT updates on the page.

-- One immutable row is one transfer, so the sum over all accounts is zero by construction.
create table ledger_entry (
    tenant_id uuid not null,
    -- UUIDv7: in order of time within the tenant, so the key serves pages and months.
    ledger_entry_id uuid not null,
    kind text not null,
    debit_account text not null,
    credit_account text not null,
    amount numeric(24, 6) not null,
    currency text not null,
    -- What moved the money. No foreign key: entries outlive erased notifications and dropped months.
    notification_id uuid,
    attempt integer,
    price_id bigint,
    purchase_id uuid,
    actor text,
    reason text,
    created_at timestamptz not null default now(),
    primary key (tenant_id, ledger_entry_id),
    constraint ledger_entry_kind_known check (kind in ('grant', 'adjust', 'post', 'refund')),
    constraint ledger_entry_amount_not_negative check (amount >= 0),
    constraint ledger_entry_accounts_differ check (debit_account <> credit_account),
    constraint ledger_entry_accounts_known check (
        debit_account in ('available', 'spent', 'purchased', 'adjusted')
        and credit_account in ('available', 'spent', 'purchased', 'adjusted'))
);
-- A purchase grants credit once, whatever the application believes.
create unique index ledger_entry_grant_key on ledger_entry (tenant_id, purchase_id) where kind = 'grant';

create trigger ledger_entry_refuse_change before update or delete on ledger_entry
    for each row execute function refuse_change();
create trigger ledger_entry_refuse_truncate before truncate on ledger_entry
    for each statement execute function refuse_change();
