"""Build the real data sets of the result tables from public repositories: docs/real-data.md."""
