"""The gate: measurements of a snapshot, pure checks over them, one verdict, a signed admission."""
