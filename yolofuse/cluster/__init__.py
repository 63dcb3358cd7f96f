"""Runs on a cluster: what to submit to Slurm, and what came of it."""
