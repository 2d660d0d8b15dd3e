"""The ledger: everything that is durable about a migration, in one Postgres database.

The row is the truth. A process believes what it read for the length of its lease and not longer; whatever it
does is guarded by the claim's epoch in the WHERE of the statement that does it, and zero rows mean `LostClaim`.
Recovery never works on a row itself: it only returns the row to the pool, where the one claim statement admits
exactly one worker, so that recovering twice is harmless.

    study:     discovered -> planned -> (held | excluded | empty_confirmed)
    delivery:  pending -> written -> [sealed -> shipped -> arrived] -> validated      (or void: nothing to deliver)
    either:    -> exception -> back to where it was

Lock order inside a transaction: source, study, delivery, evidence, exception, custody. No other module of Limosa
holds SQL, and nothing here reads a clock but `limosa_now()`.
"""

from storage.ledger.ledger import Ledger

__all__ = ["Ledger"]
