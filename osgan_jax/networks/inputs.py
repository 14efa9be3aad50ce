"""Checks of the inputs of networks."""

import jax


def check_latents(z: jax.Array, latent_dim: int) -> None:
    """Raises a ValueError unless `z` is `[N, latent_dim]`."""
    if z.ndim != 2 or z.shape[1] != latent_dim:
        raise ValueError(f'expected latents [N, {latent_dim}], got {z.shape}')


def check_images(images: jax.Array, image_size: int, channels: int) -> None:
    """Raises a ValueError unless `images` is `[N, image_size, image_size, channels]`."""
    if images.ndim != 4 or images.shape[1:] != (image_size, image_size, channels):
        raise ValueError(
            f'expected images [N, {image_size}, {image_size}, {channels}], got {images.shape}'
        )


def check_labels(labels: jax.Array | None, batch_size: int) -> None:
    """Raises a ValueError unless there are labels `[N]`."""
    if labels is None:
        raise ValueError('this network is class-conditional: pass integer labels [N]')
    if labels.shape != (batch_size,):
        raise ValueError(f'expected labels [{batch_size}], got {labels.shape}')
