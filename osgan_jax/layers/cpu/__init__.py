"""Formulations of convolutions that XLA:CPU computes faster."""
