"""Each row of SECURITY.md as an attack that leaves a harmless marker where it succeeds."""
