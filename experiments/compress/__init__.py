"""Compresses a GAN under a teacher discriminator (DGL-GAN)."""
