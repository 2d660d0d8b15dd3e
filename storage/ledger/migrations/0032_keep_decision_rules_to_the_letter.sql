-- pre: rules of identity and accession numbers are kept to the letter, too: one may look for NUL, which jsonb does not take.

drop trigger decision_rules_are_fixed on decision_rules;
alter table decision_rules alter column rules type json;
create trigger decision_rules_are_fixed before update or delete on decision_rules
  for each row execute function refuse_change();
