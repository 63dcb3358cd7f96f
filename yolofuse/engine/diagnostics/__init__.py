"""Diagnose a model before and during training: activations, gradients, first losses, step times."""
