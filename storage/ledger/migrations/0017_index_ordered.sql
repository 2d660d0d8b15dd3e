-- pre: a page of studies finds its orders without a look at the whole list.

create index ordered_by_accession on ordered (accession);
create index ordered_by_study on ordered (study_uid) where study_uid <> '';
