"""DINOv2 as an extractor: published weights, and two input conventions.

The Frechet distance between its features is the `fd_dinov2` of Stein et al. 2023
(https://arxiv.org/abs/2306.04675), who show that it agrees with people where FID does not; 50,000
images of each set are usual. Images are resized to 224 pixels and scaled to ImageNet's mean and
deviation. Two ways to resize are in use:

* 'torch': bicubic, antialiased, from [0, 255] and neither clipped nor rounded. That of EDM2
  (Karras et al. 2024, https://arxiv.org/abs/2312.02696), whose published numbers are made by it.
* 'pil': Pillow's bicubic, rounded to uint8 after columns and after rows. That of Stein et al.
  Columns come first, as in Pillow up to 12; from 13 on it begins with rows where an image is
  taller than wide (https://github.com/python-pillow/Pillow/pull/9549).

Both are computed here, without Pillow and to the bit where it rounds. Positions are interpolated as
the published code does, see `osgan_jax.networks.dinov2`.
"""

import functools
import math
import os
import re
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.evaluation.features import DINOV2_CONVENTIONS, extractors, resizing
from osgan_jax.io import checked_npz, published, weights
from osgan_jax.io.messages import printable
from osgan_jax.networks import dinov2
from osgan_jax.runtime import parallel

IMAGE_SIZE = 224
URL = 'https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth'

_WHOSE = 'the weights of DINOv2'
_HEAD = 64  # channels of a head, in every published size
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BITS = 22  # of the fraction of Pillow's weights

# By depth and width. Only ViT-L/14's distances are what others call FD-DINOv2.
_NAMES = {(24, 1024): 'dinov2', (12, 768): 'dinov2_vitb14', (12, 384): 'dinov2_vits14'}

_LEAVES = {'kernel': 'weight', 'scale': 'weight'}

# transformers' names, and the published ones that they stand for.
_TRANSFORMERS = (
    (r'embeddings\.position_embeddings', 'pos_embed'),
    (r'embeddings\.(cls|mask)_token', r'\1_token'),
    (r'embeddings\.patch_embeddings\.projection\.', 'patch_embed.proj.'),
    (r'encoder\.layer\.', 'blocks.'),
    (r'layernorm\.', 'norm.'),
)
_TRANSFORMERS_BLOCK = (
    (r'\.attention\.(?:attention\.(query|key|value)|([qkv])_proj)\.', None),
    (r'\.attention\.(?:output\.dense|o_proj)\.', '.attn.proj.'),
    (r'\.layer_scale([12])\.lambda1', r'.ls\1.gamma'),
)


def load_network(tensors: dict[str, np.ndarray]) -> tuple[dinov2.DINOv2, dict[str, Any]]:
    """Makes network and variables of tensors by the published names, or by transformers'.

    Depth, width and grid are read off the tensors; heads have 64 channels, as in all published
    sizes. `mask_token`, which is for training, is ignored.

    Args:
      tensors: from `osgan_jax.io.weights.read`.

    Raises:
      ValueError: as `osgan_jax.io.published.select`.
    """
    if any(name.startswith('embeddings.') for name in tensors):
        tensors = _from_transformers(tensors)
    tensors = {name: array for name, array in tensors.items() if name != 'mask_token'}
    network = _network_of(tensors)
    return network, published.convert(tensors, published_tensors(network), _WHOSE)


def _network_of(tensors: dict[str, np.ndarray]) -> dinov2.DINOv2:
    """The network that tensors belong to: ViT-L/14, where they do not say another."""
    blocks = {name.split('.')[1] for name in tensors if name.startswith('blocks.')}
    positions = np.shape(tensors.get('pos_embed', ()))
    if not blocks or len(positions) != 3 or positions[1] < 2:
        return dinov2.DINOv2()
    if not positions[2] or positions[2] % _HEAD:
        raise ValueError(f'these are not {_WHOSE}: {positions[2]} channels do not make heads of 64')
    return dinov2.DINOv2(
        depth=len(blocks),
        width=positions[2],
        heads=positions[2] // _HEAD,
        grid=math.isqrt(positions[1] - 1),
    )


@functools.cache
def published_tensors(network: dinov2.DINOv2) -> dict[str, published.Tensor]:
    """The tensors that a network takes, by the published names."""
    images = jnp.zeros((1, network.patch, network.patch, 3))
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), images))
    expected = {}
    for path, leaf in flax.traverse_util.flatten_dict(variables).items():
        parts = (*path[1:-1], _LEAVES.get(path[-1], path[-1]))
        words = (re.sub(r'^(blocks|attn|mlp|ls[12]|patch_embed)_', r'\1.', part) for part in parts)
        expected['.'.join(words)] = published.from_torch(path, leaf.shape)
    return expected


def _from_transformers(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    renamed: dict[str, Any] = {}
    parts: dict[str, dict[str, np.ndarray]] = {}
    for name, array in tensors.items():
        for pattern, name_there in _TRANSFORMERS:
            name = re.sub(f'^{pattern}', name_there, name)
        for pattern, name_there in _TRANSFORMERS_BLOCK:
            if name_there is not None:
                name = re.sub(pattern, name_there, name)
            elif found := re.search(pattern, name):
                whole = re.sub(pattern, '.attn.qkv.', name)
                parts.setdefault(whole, {})[(found[1] or found[2])[0]] = array
                break
        else:
            renamed[name] = array
    for name, three in parts.items():
        if three.keys() != set('qkv') or len({np.shape(part)[1:] for part in three.values()}) > 1:
            raise ValueError(f'these are not {_WHOSE}: {name} lacks query, key or value')
        renamed[name] = np.concatenate([three[part] for part in 'qkv'])
    return renamed


def name_of(network: dinov2.DINOv2) -> str:
    """An extractor's name: 'dinov2' of ViT-L/14, and its size too of another network."""
    size = (network.depth, network.width)
    return _NAMES.get(size) or f'dinov2_{size[0]}x{size[1]}'


def preprocess(images: np.ndarray | jax.Array, convention: str) -> jax.Array:
    """Resizes and scales images for the network by a convention.

    Args:
      images: `uint8 [N, H, W, C]` in [0, 255]; C 1, which is repeated, or 3.
      convention: one of `DINOV2_CONVENTIONS`.

    Returns:
      `[N, 224, 224, 3]` float32.

    Raises:
      ValueError: images of another type or shape, or an unknown convention.
    """
    check_convention(convention)
    extractors.check_images(images, 'DINOv2')
    height, width = images.shape[1:3]
    rows, columns = (resizing.antialiased_bicubic(side, IMAGE_SIZE) for side in (height, width))
    along_columns, along_rows = 'qw,nhwc->nhqc', 'ph,nhqc->npqc'
    if convention == 'pil':
        # In whole numbers, as Pillow: 255 and the weights' sum take 30 bits.
        x = _rounded(along_columns, columns, jnp.asarray(images, jnp.int32))
        x = jnp.asarray(_rounded(along_rows, rows, x), jnp.float32)
    else:
        # Half the digits, the default on accelerators, would be coarser than the images' own steps.
        product = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
        x = product(along_columns, np.float32(columns), jnp.asarray(images, jnp.float32))
        x = product(along_rows, np.float32(rows), x)
    x = jnp.repeat(x, 3, axis=3) if x.shape[3] == 1 else x
    return (x / 255 - np.float32(_MEAN)) / np.float32(_DEVIATION)


def _rounded(along: str, matrix: np.ndarray, x: jax.Array) -> jax.Array:
    """One pass of Pillow's: weights in fixed point, rounded, clipped to [0, 255]; int32."""
    scaled = matrix * (1 << _BITS)
    whole = np.trunc(scaled + np.where(scaled < 0, -0.5, 0.5)).astype(np.int32)
    return jnp.clip((jnp.einsum(along, whole, x) + (1 << _BITS - 1)) >> _BITS, 0, 255)


def check_convention(convention: str) -> None:
    """Raises a ValueError unless a convention is one of DINOv2's."""
    if convention not in DINOV2_CONVENTIONS:
        raise ValueError(
            f'unknown convention {convention!r} for DINOv2: use one of '
            f'{", ".join(DINOV2_CONVENTIONS)}'
        )


def extractor(
    weights_path: str | os.PathLike[str],
    *,
    convention: str = 'torch',
    batch_size: int = 32,
    num_devices: int | None = None,
) -> extractors.Extractor:
    """Makes a file of weights into an extractor: pooled `[N, width]`, without logits.

    It is called 'dinov2' with ViT-L/14's weights, and with others by their size, so that their
    distances are not taken for FD-DINOv2.

    Args:
      weights_path: the published .pth, or the same tensors as .npz or .safetensors, by the
        published names or by transformers'.
      convention: one of `DINOV2_CONVENTIONS`, recorded beside every number.
      batch_size: images a call on all devices; fewer are padded, so that it is compiled once for
        each size of images. Rounded up to a multiple of the devices.
      num_devices: local devices to share the work; by default all.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it holds other weights, or an argument is out of range.
    """
    check_convention(convention)
    tensors = weights.read(weights_path)
    try:
        network, variables = load_network(tensors)
    except ValueError as error:
        raise ValueError(f'cannot use {printable(weights_path)}: {error}') from None
    flat = flax.traverse_util.flatten_dict(variables, sep='/')
    fingerprint = checked_npz.digest_named(f'dinov2 {convention}', flat)

    def extract(variables, images):
        # Scores are published in float32, to more digits than accelerators' default leaves.
        with jax.default_matmul_precision('highest'):
            return network.apply(variables, preprocess(images, convention))

    extract_all = parallel.map_rows(
        extract, variables, batch_size=batch_size, num_devices=num_devices
    )

    def apply(images: np.ndarray) -> extractors.Features:
        images = np.asarray(images)
        extractors.check_images(images, 'DINOv2')
        return extractors.Features(extract_all(images), None)

    name = name_of(network)
    return extractors.Extractor(
        name, convention, fingerprint, apply, has_logits=False, image_size=IMAGE_SIZE
    )
