-- pre: a study that no device takes whole is several packs, its volumes, on several devices.

-- A volume is here from its end on, while its delivery is still being written: its device may be sealed, shipped and
-- received before the last one is begun. The delivery's receipt then names no device.
create table volume (
  delivery_id bigint not null references delivery,
  size bigint not null,
  instances integer not null,
  at timestamptz not null default limosa_now(),
  number integer not null,
  stage delivery_state not null default 'written',
  key text not null,
  container text not null,
  crc64 bytea not null,
  device text not null,
  ended text not null,
  rules text not null default '',
  primary key (delivery_id, number),
  constraint volume_has_bytes check (number >= 1 and size > 0 and instances >= 1),
  constraint volume_is_on_a_device check (device <> '' and octet_length(crc64) = 8),
  constraint volume_ended_somehow check (ended in ('file', 'device', 'last')),
  constraint volume_is_on_its_way check (stage in ('written', 'sealed', 'shipped', 'arrived', 'validated'))
);
create index volume_on_device on volume (device, key collate "C");

create table volume_member (
  delivery_id bigint not null,
  byte_start bigint not null,
  byte_size bigint not null,
  raw_size bigint not null,
  sto_size bigint not null,
  number integer not null,
  lead integer not null,
  sop_uid text collate "C" not null,
  series_uid text collate "C" not null,
  sop_class text collate "C" not null,
  transfer_syntax text collate "C" not null,
  raw1 bytea not null,
  sto1 bytea not null,
  pd1 bytea,
  can1 bytea not null,
  flags text[] not null default '{}',
  coerced jsonb,
  met text[] not null default '{}',
  acted text[] not null default '{}',
  primary key (delivery_id, sop_uid),
  foreign key (delivery_id, number) references volume on delete cascade,
  constraint member_digests_are_blake3 check (
    octet_length(raw1) = 32 and octet_length(sto1) = 32 and octet_length(can1) = 32 and octet_length(pd1) = 32)
);
create index volume_member_of_volume on volume_member (delivery_id, number);

-- Where it lies is said once; what is under a seal stays said.
create function check_volume() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and (new.delivery_id, new.number, new.size, new.instances, new.key, new.container, new.crc64,
                           new.device, new.ended) is distinct from
                          (old.delivery_id, old.number, old.size, old.instances, old.key, old.container, old.crc64,
                           old.device, old.ended)
    or tg_op = 'DELETE' and exists (select from seal s where s.device_id = old.device)
  then
    raise exception 'a volume is never changed, and one on a sealed device never forgotten'
      using errcode = 'check_violation', constraint = 'volume_is_fixed';
  end if;
  return coalesce(new, old);
end
$$;
create trigger volume_is_fixed before update or delete on volume for each row execute function check_volume();
create trigger volume_is_kept before truncate on volume execute function refuse_change();

-- What a receipt that names no device stands for; null where it stands for itself.
create function volumes_of(of_delivery bigint) returns jsonb language sql stable as $$
  select jsonb_agg(jsonb_build_object('key', key, 'size', size, 'crc64', encode(crc64, 'hex'), 'device', device)
                   order by number)
  from volume where delivery_id = of_delivery
$$;

-- The same pairs as lifecycle.DELIVERY_MOVES; a test holds the two together. Volumes are on devices, too.
create or replace function check_delivery_move() returns trigger language plpgsql as $$
begin
  if (old.state::text || '>' || new.state::text) <> all (array[
    'pending>written', 'pending>exception', 'pending>void',
    'written>sealed', 'written>validated', 'written>exception', 'written>void',
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
  if old.state = 'validated'
    and not exists (select from receipt r where r.delivery_id = old.delivery_id and r.device <> '')
    and not exists (select from volume v where v.delivery_id = old.delivery_id)
  then
    raise exception 'a validated delivery that is on no device stays so'
      using errcode = 'check_violation', constraint = 'validated_stays_unless_shipped';
  end if;
  return new;
end
$$;
