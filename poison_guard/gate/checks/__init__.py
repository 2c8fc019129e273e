"""The gate's checks, one a file: pure functions of one measurement and the policy."""
