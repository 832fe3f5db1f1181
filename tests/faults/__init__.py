"""Faults, for real: servers, workers and links that are killed, stopped, cut and slowed, and what became of every task."""
