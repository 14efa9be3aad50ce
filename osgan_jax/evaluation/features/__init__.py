"""What makes features of images: the FID Inception network, LPIPS, a classifier."""
