-- pre: of which modalities the instances of a revision were, as they were received: a rule for others changes none.

alter table upload_member add modality text not null default '?';
alter table volume_member add modality text not null default '?';
alter table coercion_effect add modalities text[];
alter table coercion_effect drop constraint one_row_for_an_effect,
  add constraint one_row_for_an_effect unique nulls not distinct (version, met, acted, modalities);
