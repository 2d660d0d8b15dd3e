-- pre: a file of the hospital can be forgotten, and what other files had told as well stays told.

alter table hospital_file add column forgotten_by text, add column forgotten_why text;
alter table hospital_file add constraint forgotten_is_replaced check (forgotten_by is null or replaced_at is not null);
-- False for files that were read before repeats were kept: what they told again nobody knows.
alter table hospital_file add column repeats_kept boolean not null default false;

-- Events that a file of messages told after another one had.
create table told_again (
  digest bytea not null,
  file_id bigint not null references hospital_file,
  primary key (digest, file_id)
);

-- Under which digest an event is told that a forgotten file had told under this one.
create function digest_that_counts(digest bytea) returns bytea language plpgsql stable as $$
declare
  found bigint;
begin
  loop
    select e.file_id into found from identity_event e join hospital_file f using (file_id)
    where e.digest = digest_that_counts.digest and f.forgotten_by is not null;
    if found is null then
      return digest;
    end if;
    digest := sha256(digest || int8send(found));
  end loop;
end
$$;
