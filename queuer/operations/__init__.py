"""What can be done, as verbs: one unit of work each, made of repository calls in one transaction. No SQL here."""
