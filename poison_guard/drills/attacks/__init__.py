"""Attacks and their benign twins, one file per kind; each ``make(seed, **params)`` returns a `World`."""
