-- pre: rules of coercion are kept to the letter: jsonb sorts the entries of a table, whose order is part of the version,
-- and takes no NUL, which a rule may look for.

drop trigger coercion_rules_are_fixed on coercion_rules;
alter table coercion_rules alter column rules type json;
create trigger coercion_rules_are_fixed before update or delete on coercion_rules
  for each row when (old.rules is not null) execute function refuse_change();
