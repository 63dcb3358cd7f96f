"""Initialise weights: fans, gains, schemes, a generator per tensor, and the policy that applies them to a model."""
