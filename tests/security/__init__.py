"""Carry out each row of SECURITY.md as an attack that leaves a harmless marker if it succeeds."""
