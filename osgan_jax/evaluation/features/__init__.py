"""Feature extractors: the FID Inception network, LPIPS, a classifier."""

CONVENTIONS = ('torch', 'tf1', 'clean')
"""How images are resized and scaled for the Inception network, see `inception`."""
