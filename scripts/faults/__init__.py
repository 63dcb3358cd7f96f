"""Inject faults into tiny training runs and record what each one costs."""
