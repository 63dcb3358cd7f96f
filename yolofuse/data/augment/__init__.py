"""Geometry and colours of a training sample."""
