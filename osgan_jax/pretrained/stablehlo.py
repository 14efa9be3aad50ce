"""A generator as one file that runs without this package: `jax.export`'s serialised StableHLO.

The file holds the weights and one program for CPUs, CUDA and TPUs, for any number of images. JAX
promises to run it for six months after the version that made it, and three weeks before (
https://docs.jax.dev/en/latest/export/export.html#compatibility-guarantees); it refuses to export
what calls functions without that promise. Convolutions are XLA's own: the formulations of
`layers.cpu` are measured on CPUs alone.
"""

from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from osgan_jax.gan import sampling
from osgan_jax.gan.model import GAN
from osgan_jax.io import messages
from osgan_jax.layers import convolutions
from osgan_jax.networks import inference

PLATFORMS = ('cpu', 'cuda', 'tpu')
MONTHS = 6
"""Months that JAX promises to run what it exported."""


class Program(NamedTuple):
    """A serialised generator.

    Attributes:
      content: the bytes.
      arguments: what it takes, in order: names, types, shapes and meanings.
      calling_convention: the version of jax.export's calling convention.
    """

    content: bytes
    arguments: list[dict[str, Any]]
    calling_convention: int


def serialise(gan: GAN, variables: Any) -> Program:
    """Serialises a generator.

    It takes, in this order and as far as it has them: z `[N, Z]`, float32; labels `[N]`, int32; the
    seed of its noise, uint32; psi, the truncation in w, float32. It returns images
    `[N, H, W, C]`, float32.

    Args:
      gan: the networks.
      variables: the generator's.

    Raises:
      ValueError: the package flatbuffers, which JAX needs for it, is not installed; or the
        generator cannot be exported.
    """
    try:
        import flatbuffers  # noqa: F401 (jax imports it where it serialises)
    except ImportError:
        raise ValueError(
            'stablehlo needs the package flatbuffers: install it, or osgan_jax[stablehlo]'
        ) from None
    generator = gan.generator.clone(axis_name=None)
    variables = jax.tree.map(np.asarray, variables)  # constants of the program
    specs = _inputs(gan)
    if _has_noise(generator, variables, specs):
        specs['seed'] = jax.ShapeDtypeStruct((), jnp.uint32)
    if gan.network.has_styles:
        specs['truncation'] = jax.ShapeDtypeStruct((), jnp.float32)

    def generate(*values: jax.Array) -> jax.Array:
        given = dict(zip(specs, values, strict=True))
        key = sampling.noise_key(given['seed']) if 'seed' in given else None
        return inference.apply_generator(
            generator, variables, given['z'], given.get('label'), key, given.get('truncation')
        )

    try:
        with convolutions.implementation('plain'):
            made = jax.export.export(jax.jit(generate), platforms=PLATFORMS)(*specs.values())
    except (NotImplementedError, TypeError, ValueError) as error:
        # An operation that needs the number of images, or one that JAX makes no promise of.
        what = messages.reason(error)
        raise ValueError(f'this generator cannot be exported: {what}') from error
    meanings = {
        'z': 'latents, '
        + (
            "of the networks' own distribution, which is not normal: as its author draws them"
            if has_own_latents(gan)
            else 'normal of mean 0 and variance 1'
        ),
        'label': f'classes, 0 to {gan.num_classes - 1}',
        'seed': "of the noise; an image's noise depends on its z as well",
        'truncation': 'psi: the share of the distance from the average w that is kept; 1 for all',
    }
    arguments = [
        {
            'name': name,
            'shape': [size if isinstance(size, int) else str(size) for size in spec.shape],
            'dtype': str(spec.dtype),
            'meaning': meanings[name],
        }
        for name, spec in specs.items()
    ]
    return Program(bytes(made.serialize()), arguments, made.calling_convention_version)


def has_own_latents(gan: GAN) -> bool:
    """Whether z is not normal, as networks of one's own may declare."""
    return gan.network.latents is not None


def _inputs(gan: GAN) -> dict[str, jax.ShapeDtypeStruct]:
    """Latents and labels of any number of images."""
    (batch,) = jax.export.symbolic_shape('batch')
    specs = {'z': jax.ShapeDtypeStruct((batch, gan.latent_dim), jnp.float32)}
    if gan.num_classes:
        specs['label'] = jax.ShapeDtypeStruct((batch,), jnp.int32)
    return specs


def _has_noise(generator: Any, variables: Any, specs: dict[str, jax.ShapeDtypeStruct]) -> bool:
    """Whether a generator draws from a key that it is given."""

    def draw(key: jax.Array, z: jax.Array, label: jax.Array | None = None) -> jax.Array:
        return inference.apply_generator(generator, variables, z, label, key)

    key = jax.eval_shape(lambda: jax.random.key(0))
    traced = jax.make_jaxpr(draw)(key, *specs.values()).jaxpr
    return any(traced.invars[0] is var for equation in traced.eqns for var in equation.invars)
