-- pre: a service holds one copy, so a later revision takes the place of one that was not proven yet.

-- The same pairs as lifecycle.DELIVERY_MOVES; a test holds the two together.
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
  if old.state = 'validated' and not exists (
    select from receipt r where r.delivery_id = old.delivery_id and r.device <> '')
  then
    raise exception 'a validated delivery that is on no device stays so'
      using errcode = 'check_violation', constraint = 'validated_stays_unless_shipped';
  end if;
  return new;
end
$$;
