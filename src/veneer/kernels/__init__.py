"""Faster exact kernels for training."""
