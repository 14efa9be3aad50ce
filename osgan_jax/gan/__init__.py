"""Training a GAN: configuration, methods, state, the step of each scheme, trainer, sampling."""
