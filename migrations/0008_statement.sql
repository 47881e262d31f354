-- Sums of ledger entries by day: a statement reads them instead of a tenant's whole history.

create table ledger_day (
    tenant_id uuid not null,
    -- UTC, nobody's local day: a change of a tenant's time zone touches nothing here. The days that the ends of a
    -- local month cut are read entry by entry.
    day date not null,
    kind text not null,
    -- Says category and country of a message, for price rows never change; null: the entry is of no message.
    price_id bigint,
    currency text not null,
    entry_count bigint not null,
    -- What the entries did to `available`: below zero for what was taken.
    amount numeric(24, 6) not null,
    -- Between these keys lie the entries of the day, whatever clock made them.
    first_id uuid not null,
    last_id uuid not null,
    constraint ledger_day_key unique nulls not distinct (tenant_id, day, kind, price_id, currency),
    constraint ledger_day_count_positive check (entry_count > 0)
) with (fillfactor = 70);  -- Today's rows are updated every minute.

-- How far the entries are summed up: those of transactions below `xid` are in ledger_day, each once, on whatever day
-- they are; all others are not. A transaction that commits late has a later xid or holds the mark back, so that none
-- is skipped.
create table ledger_day_mark (
    only_row boolean primary key default true,
    xid bigint not null default 0,
    constraint ledger_day_mark_only_row check (only_row)
);
insert into ledger_day_mark default values;

-- What is not summed up yet is found by this index, the newest entries above all; they must not wait for a vacuum.
alter index ledger_entry_xid set (autosummarize = on);
