-- pre: which pass over the archive has come to its end, so that a run does not walk through all its answers again.

alter table source add column enumerated integer not null default 0,
  add constraint enumerated_is_a_generation check (enumerated >= 0);
