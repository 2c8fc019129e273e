"""What people look at: the report of a run as one page. Attacker-written text is escaped and made visible here."""
