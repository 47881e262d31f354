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
