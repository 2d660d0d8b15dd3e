-- pre: what the image of a sampled series says of CT dose.

alter table sampled_series add column dose text
  constraint sampled_dose_is_known check (dose in ('report', 'readable', 'screen_only', 'none', 'no_ct'));
