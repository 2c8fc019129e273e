"""Read batches safely: find objects, read them within bounds, map columns to roles, give ids."""
