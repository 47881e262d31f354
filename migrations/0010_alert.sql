-- A token that is sealed anew under another key is the same token: no process needs to load anything because of it,
-- and no sender is tried again. Whoever sets another token sets updated_at too.
create or replace function touch_tenant() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT'
       or to_jsonb(new) - '{token_key_id,token_sealed}'::text[]
          <> to_jsonb(old) - '{token_key_id,token_sealed}'::text[] then
        update tenant set updated_at = now() where tenant_id = new.tenant_id;
    end if;
    return null;
end $$;

-- Notifications that were refused for lack of credit and that nobody was told of yet: counted by the pipeline, one
-- row per tenant, in the transaction that refuses; told by the scheduler.
create table refusal_alert (
    -- No foreign key: the pipeline writes it, and must wait for no lock but the account's.
    tenant_id uuid primary key,
    -- Since the last mail.
    refused bigint not null,
    -- The first of them.
    since timestamptz,
    -- A mail goes out six hours after the last one at the earliest.
    told_at timestamptz,
    constraint refusal_alert_refused_not_negative check (refused >= 0),
    constraint refusal_alert_since_matches check ((since is not null) = (refused > 0))
) with (fillfactor = 50);  -- Updated by every batch that refuses: room for HOT updates on the page.

-- Tenants whose credit fell below their threshold, once they were told.
create table low_balance_alert (
    tenant_id uuid primary key references tenant,
    -- Told of the present fall; false once the credit was at the threshold or above again.
    told boolean not null,
    told_at timestamptz not null
);
