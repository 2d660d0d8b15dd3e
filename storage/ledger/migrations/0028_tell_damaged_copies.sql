-- pre: damaged files whose instance another file holds are told once, and their study moves.

alter table source_file add column told boolean not null default false;
create index source_file_to_tell on source_file (source_id) where state = 'damaged' and not told;
