-- pre: messages that were heard and cannot be used as they are; their sender was told so.
create table refused_message (
  digest bytea primary key,
  heard_at timestamptz not null default limosa_now(),
  times_heard integer not null default 1,
  defects text[] not null,
  octets bytea not null,
  constraint refused_digest_is_blake3 check (octet_length(digest) = 32)
);
