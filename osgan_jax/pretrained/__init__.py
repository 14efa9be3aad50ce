"""Published weights of StyleGAN2 and BigGAN as runs of this package."""
