"""The verbs, a file each: load, call the pure rooms, store. Here alone pure rooms meet the store."""
