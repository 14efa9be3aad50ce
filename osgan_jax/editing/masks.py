"""A generator with a share of its kernels masked, as in Figure 2 of Tian et al. 2024 (DGL-GAN).

What is lost shows how much every pixel depends on all weights, and why DGL-GAN trains a narrow
generator rather than pruning a wide one.
"""

import math
import zlib

import jax
import numpy as np

from osgan_jax.editing.generators import EditableGenerator


def masked(generator: EditableGenerator, share: float, seed: int = 0) -> EditableGenerator:
    """The generator with a share of the weights of every convolution set to 0.

    Which weights is drawn from the seed and the kernel's name; of two shares, the larger masks what
    the smaller one does, and more.

    Args:
      generator: the generator.
      share: in [0, 1]; of each kernel it is rounded to whole weights.
      seed: of the draw.

    Raises:
      ValueError: for a generator without convolutions.
    """
    found = 0

    def mask(path, leaf):
        nonlocal found
        if path[-1].key != 'kernel' or np.ndim(leaf) != 4:
            return leaf
        found += 1
        name = jax.tree_util.keystr(path).encode()
        order = np.random.default_rng([seed, zlib.crc32(name)]).permutation(math.prod(leaf.shape))
        weights = np.array(leaf).ravel()
        weights[order[: round(share * weights.size)]] = 0
        return weights.reshape(leaf.shape)

    params = jax.tree_util.tree_map_with_path(mask, generator.variables['params'])
    if not found:
        raise ValueError(f'this {generator.name} has no convolutions to mask')
    return generator.with_variables({**generator.variables, 'params': params})
