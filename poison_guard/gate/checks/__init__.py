"""The gate's checks, one per file: pure functions of one measurement and the policy."""
