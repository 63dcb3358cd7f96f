"""Augment and decode batches on the training device."""
