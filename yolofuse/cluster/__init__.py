"""Submit runs to Slurm, and tabulate their results."""
