-- pre: a source that is away, or refuses us, is not asked again before the next run, and says why.

alter table source add column stopped text,
  add constraint stopped_says_why check (stopped <> '');
