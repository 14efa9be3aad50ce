"""The Inception network as an extractor: published weights, and three input conventions.

Scores depend on how images are resized to 299 pixels and scaled to the network's range. Three
conventions are in use, and their scores are not comparable:

* 'torch': bilinear between pixel centres, not antialiased; [0, 255] to [-1, 1]. That of pytorch-fid
  (https://github.com/mseitzer/pytorch-fid).
* 'tf1': bilinear with output i at i * size / 299 of the input, half a pixel off its place; less
  128, over 128. That of the graph by Heusel et al. 2017 (https://arxiv.org/abs/1706.08500).
* 'clean': bicubic, antialiased, clipped to [0, 255]; less 128, over 128. That of Parmar et al. 2022
  (https://arxiv.org/abs/2104.11222), who resize by Pillow, in its mode of floating point.

All three are linear maps of rows and of columns, so that a matrix for each does the resizing.
"""

import functools
import hashlib
import http.client
import os
import pathlib
import urllib.request
from collections.abc import Iterator
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.evaluation.features import CONVENTIONS, extractors, resizing
from osgan_jax.io import atomic, checked_npz, published, weights
from osgan_jax.io.messages import printable, reason
from osgan_jax.networks import inception
from osgan_jax.runtime import parallel

URL = (
    'https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/'
    'pt_inception-2015-12-05-6726825d.pth'
)
SHA256_PREFIX = '6726825d'

_TIMEOUT = 60.0  # seconds without a byte
_PART = 1 << 20  # bytes

# The last parts of names, here and in PyTorch.
_LEAVES = {
    'kernel': 'weight',
    'scale': 'weight',
    'bias': 'bias',
    'mean': 'running_mean',
    'var': 'running_var',
}


def fetch(cache_dir: str | os.PathLike[str], *, url: str = URL) -> pathlib.Path:
    """Downloads the published weights, 96 MB, unless they are there already.

    Args:
      cache_dir: folder for them; it is created.
      url: where they are published.

    Returns:
      The file.

    Raises:
      OSError: they cannot be downloaded, or the folder cannot be written.
      ValueError: the downloaded file is another one; it is removed.
    """
    path = pathlib.Path(cache_dir) / URL.rpartition('/')[2]
    try:
        weights.verify(path, SHA256_PREFIX)
        return path
    except (FileNotFoundError, ValueError):
        pass  # absent, or cut short, and then replaced
    sha256 = hashlib.sha256()
    with atomic.replacing(path) as file:
        for part in _download(url):
            sha256.update(part)
            file.write(part)
        # Raised in here, so that the file is removed before it gets its name.
        if not sha256.hexdigest().startswith(SHA256_PREFIX):
            raise ValueError(
                f'the file downloaded from {url} is damaged or another one, and was removed: its '
                f'sha256 begins with {sha256.hexdigest()[:8]}, not with {SHA256_PREFIX}; try again,'
                ' or get the file elsewhere and give its path as --inception_weights'
            )
    return path


def _download(url: str) -> Iterator[bytes]:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
            while part := response.read(_PART):
                yield part
    except (OSError, http.client.HTTPException) as error:
        why = reason(getattr(error, 'reason', error))
        raise ConnectionError(
            f'cannot download the weights of Inception from {url} ({why}): where there is no '
            'network, get the file elsewhere and give its path as --inception_weights'
        ) from None


def load_variables(tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """Makes the network's variables of tensors by PyTorch's names.

    Convolutions go from `[O, I, kh, kw]` to `[kh, kw, I, O]`, `fc.weight` from `[O, I]` to
    `[I, O]`. Ignored are `num_batches_tracked` of BatchNorm, which counts training steps,
    and the auxiliary classifier `AuxLogits`.

    Args:
      tensors: from `osgan_jax.io.weights.read`.

    Returns:
      'params' and 'batch_stats', float32 on the host.

    Raises:
      ValueError: as `osgan_jax.io.published.select`.
    """
    taken = {
        name: array
        for name, array in tensors.items()
        if not name.endswith('.num_batches_tracked') and not name.startswith('AuxLogits.')
    }
    return published.convert(taken, published_tensors(), 'the weights of the FID Inception network')


@functools.cache
def published_tensors() -> dict[str, published.Tensor]:
    """The 472 tensors that the network takes, by PyTorch's names."""
    images = jnp.zeros((1, inception.IMAGE_SIZE, inception.IMAGE_SIZE, 3))
    variables = jax.eval_shape(lambda: inception.Inception().init(jax.random.key(0), images))
    return {
        '.'.join((*path[1:-1], _LEAVES[path[-1]])): published.from_torch(path, leaf.shape)
        for path, leaf in flax.traverse_util.flatten_dict(variables).items()
    }


def preprocess(images: np.ndarray | jax.Array, convention: str) -> jax.Array:
    """Resizes and scales images for the network by a convention.

    Args:
      images: `uint8 [N, H, W, C]` in [0, 255]; C 1, which is repeated, or 3.
      convention: one of `CONVENTIONS`.

    Returns:
      `[N, 299, 299, 3]` float32.

    Raises:
      ValueError: images of another type or shape, or an unknown convention.
    """
    extractors.check_images(images, 'the Inception network')
    rows, columns = (resize_matrix(convention, size) for size in images.shape[1:3])
    # Half the digits, the default on accelerators, would be coarser than the images' own steps.
    product = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    x = product('qw,nhwc->nhqc', columns, jnp.asarray(images, jnp.float32))
    x = product('ph,nhqc->npqc', rows, x)
    if convention == 'torch':
        x = x / 127.5 - 1
    else:
        x = ((jnp.clip(x, 0, 255) if convention == 'clean' else x) - 128) / 128
    return jnp.repeat(x, 3, axis=3) if x.shape[3] == 1 else x


def resize_matrix(convention: str, size: int) -> np.ndarray:
    """Returns the weights `[299, size]` of input pixels in output pixels along an axis.

    Raises:
      ValueError: an unknown convention.
    """
    _check_convention(convention)
    output = np.arange(inception.IMAGE_SIZE)[:, None]
    pixels = np.arange(size)
    scale = size / inception.IMAGE_SIZE
    if convention == 'clean':
        matrix = resizing.antialiased_bicubic(size, inception.IMAGE_SIZE)
        return np.asarray(matrix, np.float32)
    place = output * scale if convention == 'tf1' else (output + 0.5) * scale - 0.5
    # Beyond the outermost pixels the image is constant.
    place = np.clip(place, 0, size - 1)
    return np.asarray(np.maximum(1 - np.abs(pixels - place), 0), np.float32)


def _check_convention(convention: str) -> None:
    if convention not in CONVENTIONS:
        raise ValueError(f'unknown convention {convention!r}: use one of {", ".join(CONVENTIONS)}')


def extractor(
    weights_path: str | os.PathLike[str],
    *,
    convention: str = 'torch',
    batch_size: int = 64,
    num_devices: int | None = None,
) -> extractors.Extractor:
    """Makes a file of weights into an extractor: pooled `[N, 2048]`, logits `[N, 1008]`.

    The logits are those without the bias, see `networks.inception.Outputs`.

    Args:
      weights_path: the published .pth, or the same tensors as .npz or .safetensors.
      convention: one of `CONVENTIONS`, recorded beside every number.
      batch_size: images a call on all devices; fewer are padded, so that it is compiled once for
        each size of images. Rounded up to a multiple of the devices.
      num_devices: local devices to share the work; by default all.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it holds other weights, or an argument is out of range.
    """
    _check_convention(convention)
    tensors = weights.read(weights_path)
    try:
        variables = load_variables(tensors)
    except ValueError as error:
        raise ValueError(f'cannot use {printable(weights_path)}: {error}') from None
    flat = flax.traverse_util.flatten_dict(variables, sep='/')
    fingerprint = checked_npz.digest_named(f'inception {convention}', flat)

    def extract(variables, images):
        # Scores are published in float32, to more digits than accelerators' default leaves.
        with jax.default_matmul_precision('highest'):
            seen = inception.Inception().apply(variables, preprocess(images, convention))
        return extractors.Features(seen.pooled, seen.logits)

    extract_all = parallel.map_rows(
        extract, variables, batch_size=batch_size, num_devices=num_devices
    )

    def apply(images: np.ndarray) -> extractors.Features:
        images = np.asarray(images)
        extractors.check_images(images, 'the Inception network')
        return extractors.Features(*extract_all(images))

    return extractors.Extractor(
        'inception', convention, fingerprint, apply, image_size=inception.IMAGE_SIZE
    )
