"""Processes of one run: ranks, what they exchange, and whether they hold the same weights."""
