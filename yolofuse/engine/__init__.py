"""Train and evaluate detectors."""
