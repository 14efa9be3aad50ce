"""The fields of a GAN's configuration, by what they decide."""
