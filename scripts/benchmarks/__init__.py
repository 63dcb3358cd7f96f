"""Measure speed, memory and accuracy of single components; each module is a command."""
