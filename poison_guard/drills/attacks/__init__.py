"""Attacks and their benign twins, one file a kind; each ``make(seed, **params)`` returns a `World`."""
