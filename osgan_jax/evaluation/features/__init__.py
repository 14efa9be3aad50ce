"""Feature extractors: the FID Inception network, LPIPS, a classifier."""
