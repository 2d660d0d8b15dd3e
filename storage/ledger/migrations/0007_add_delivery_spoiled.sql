-- pre: an unfinished delivery that is not to be taken up where it stopped, whoever finds it.

alter table delivery add column spoiled boolean not null default false;
