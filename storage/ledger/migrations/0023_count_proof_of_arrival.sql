-- pre: what proved that packs arrived, beside how many did. Null in rows that are older.

alter table arrival
  add column by_digest integer,
  add column by_crc64 integer,
  add column by_size integer,
  add column by_name integer,
  add constraint arrivals_say_how check (
    (by_digest is null and by_crc64 is null and by_size is null and by_name is null)
    or (by_digest >= 0 and by_crc64 >= 0 and by_size >= 0 and by_name >= 0
      and by_digest + by_crc64 + by_size + by_name = arrived));
