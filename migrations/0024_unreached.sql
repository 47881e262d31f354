-- Notifications that were not sent, failed, or whose outcome was not known, at some time: among them is what may be
-- sent again. An index on `status` would make every change of a notification write all of its index entries
-- (no heap-only update); here only these few pay. The row stays when the notification goes on, so read it with its
-- notification, whose status decides.
create table notification_unreached (
    tenant_id uuid not null,
    notification_id uuid not null,
    primary key (tenant_id, notification_id)
);

create function note_unreached() returns trigger language plpgsql as $$
begin
    insert into notification_unreached (tenant_id, notification_id) values (new.tenant_id, new.notification_id)
    on conflict do nothing;
    return null;
end $$;

select protect_tables();

-- Beside a service at work, which waits behind this; those that are there already follow in 0025, without a lock.
set local lock_timeout = '10s';
create trigger notification_note_unreached after insert or update of status on notification
    for each row when (new.status in ('not_sent', 'failed', 'unknown')) execute function note_unreached();
