-- pre: what a read-back found the object to be as a whole, where the delivery is one object.

alter table validation add object_sha256 bytea, add object_blake3 bytea;
alter table validation add constraint validation_digests_are_whole check (
  octet_length(object_sha256) = 32 and octet_length(object_blake3) = 32),
  add constraint validation_has_both_digests check ((object_sha256 is null) = (object_blake3 is null));
