"""Shared mathematics: devices, neighbours, sketches, robust statistics, tests and conformal ranks."""
