-- When a row was written is said by the database alone: a row with another date or transaction is refused, or an act
-- of today could be entered for January and be sealed as if it had stood there.

-- Refused, not corrected: who restores data only, with triggers on, must learn of it.
create function refuse_other_time() returns trigger language plpgsql as $$
begin
    raise exception 'a row of % is of its own transaction and time: leave out created_at and xid, and make its id (UUIDv7) now; is a clock wrong by a day?', tg_table_name
        using errcode = 'restrict_violation';
end $$;

-- Conditions and not the function: a row that is as it should be costs no call. Ids are made by the clock of another
-- machine, so they may be a day away; audit verify allows as much (ID_MARGIN in src/audit/chain.rs).
create trigger audit_entry_refuse_other_time before insert on audit_entry for each row
    when (new.created_at <> now() or new.xid <> audit_xid()
          or new.audit_entry_id < uuid_floor(now() - interval '1 day')
          or new.audit_entry_id > uuid_floor(clock_timestamp() + interval '1 day'))
    execute function refuse_other_time();
create trigger ledger_entry_refuse_other_time before insert on ledger_entry for each row
    -- Not the id: judging it costs more than the rest, the pipeline pays it per message, and audit verify names it.
    when (new.created_at <> now() or new.xid <> audit_xid())
    execute function refuse_other_time();
create trigger event_log_refuse_other_time before insert on event_log for each row
    when (new.created_at <> now() or new.xid <> audit_xid()
          or new.event_log_id < uuid_floor(now() - interval '1 day')
          or new.event_log_id > uuid_floor(clock_timestamp() + interval '1 day'))
    execute function refuse_other_time();
