"""Drills: simulated worlds with attacks and benign twins inside, run to measure the guard beside a naive baseline."""
