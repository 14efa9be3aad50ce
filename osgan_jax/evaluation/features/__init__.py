"""Feature extractors: the FID Inception network, DINOv2, LPIPS, a classifier."""

CONVENTIONS = ('torch', 'tf1', 'clean')
"""How images are resized and scaled for the Inception network, see `inception`."""

DINOV2_CONVENTIONS = ('torch', 'pil')
"""How images are resized for DINOv2, see `dinov2`."""

CLASSIFIERS = ('standard', 'small')
"""Classifiers that a dataset can be judged by, see `classifier_network.SIZES`."""
