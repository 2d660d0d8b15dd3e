-- pre: devices that are sealed, shipped and accounted for at the far side.

-- All packs of one device in order of their keys: the order of its manifest.
create index receipt_on_device on receipt (device, key collate "C") where device <> '';

create table seal (
  device_id text primary key references device,
  sealed_at timestamptz not null,
  root bytea not null,
  packs integer not null,
  instances bigint not null,
  bytes bigint not null,
  serial text not null,
  note text not null,
  sealed_by text not null,
  constraint seal_root_is_sha256 check (octet_length(root) = 32),
  constraint seal_holds_something check (packs >= 1 and instances >= packs and bytes >= packs)
);
create trigger seal_is_fixed before update or delete on seal for each row execute function refuse_change();
create trigger seal_is_kept before truncate on seal execute function refuse_change();

-- What one document of the far side came to.
create table arrival (
  arrival_id bigint generated always as identity primary key,
  device_id text not null references seal,
  at timestamptz not null default limosa_now(),
  evidence text not null,
  document bytea not null,
  arrived integer not null,
  missing integer not null,
  altered integer not null,
  unknown integer not null,
  strangers integer not null,
  reconciled_by text not null,
  constraint document_is_sha256 check (octet_length(document) = 32),
  constraint arrivals_are_counted check (
    arrived >= 0 and missing >= 0 and altered >= 0 and unknown >= 0 and strangers >= 0)
);
create trigger arrival_is_fixed before update or delete on arrival for each row execute function refuse_change();
create trigger arrival_is_kept before truncate on arrival execute function refuse_change();

-- The same pairs as lifecycle.DELIVERY_MOVES; a test holds the two together. What was proven on a device may go on its
-- way, where it is to be proven again, and may be found damaged before it leaves.
create or replace function check_delivery_move() returns trigger language plpgsql as $$
begin
  if (old.state::text || '>' || new.state::text) <> all (array[
    'pending>written', 'pending>exception', 'pending>void',
    'written>sealed', 'written>validated', 'written>exception',
    'sealed>shipped', 'sealed>exception',
    'shipped>arrived', 'shipped>exception',
    'arrived>validated', 'arrived>exception',
    'validated>sealed', 'validated>exception',
    'exception>pending', 'exception>written', 'exception>sealed', 'exception>shipped', 'exception>arrived',
    'exception>void'])
  then
    raise exception 'a delivery never goes from % to %', old.state, new.state
      using errcode = 'check_violation', constraint = 'delivery_moves_as_allowed';
  end if;
  if old.state = 'validated' and not exists (
    select from receipt r where r.delivery_id = old.delivery_id and r.device <> '')
  then
    raise exception 'a validated delivery that is on no device stays so'
      using errcode = 'check_violation', constraint = 'validated_stays_unless_shipped';
  end if;
  return new;
end
$$;
