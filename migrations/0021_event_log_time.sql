-- The condition of this trigger calls functions of SQL, which Postgres reads and plans anew for every statement that
-- inserts: a fifth of a millisecond for a row that the pipeline writes per transaction. The same judgement in a function
-- is planned once per connection.
create function refuse_other_event_time() returns trigger language plpgsql as $$
begin
    if new.created_at <> now() or new.xid <> audit_xid()
       or new.event_log_id < uuid_floor(now() - interval '1 day')
       or new.event_log_id > uuid_floor(clock_timestamp() + interval '1 day') then
        raise exception 'a row of % is of its own transaction and time: leave out created_at and xid, and make its id (UUIDv7) now; is a clock wrong by a day?', tg_table_name
            using errcode = 'restrict_violation';
    end if;
    return new;
end $$;

drop trigger event_log_refuse_other_time on event_log;
create trigger event_log_refuse_other_time before insert on event_log for each row
    execute function refuse_other_event_time();
