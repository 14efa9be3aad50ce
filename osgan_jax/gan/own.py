"""What a run records of networks and losses of one's own, and how they are found again."""

import dataclasses
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from osgan_jax import networks
from osgan_jax.engine import runs
from osgan_jax.gan import objectives
from osgan_jax.gan.config import OWN, TrainConfig
from osgan_jax.gan.model import GAN, TrainState
from osgan_jax.io import checked_npz, messages, own_code
from osgan_jax.networks import inference

_SEEN = 4  # images that tell in which range G begins


def record(config: TrainConfig, gan: GAN, state: TrainState) -> dict[str, Any] | None:
    """What config.json holds of a run's own code beside its name; None without any.

    Args:
      config: resolved.
      gan: the networks.
      state: a state of them, or its shapes.
    """
    found: dict[str, Any] = {}
    if own_code.is_own(config.network):
        parts = (('generator', state.params_g), ('discriminator', state.params_d))
        found['networks'] = {
            role: _describe(getattr(gan, role).module, params) for role, params in parts
        }
    if values := objectives.values(config):
        found['values'] = values
    return found or None


def with_networks(run: runs.Run, networks_given: Any, workdir: str | os.PathLike[str]) -> runs.Run:
    """A run whose own networks are those given, where they are not to be found by their name.

    Args:
      run: the run.
      networks_given: `osgan_jax.gan.Networks`, a reference, or None for those that it names.
      workdir: its directory.

    Raises:
      ValueError: for a run of the library's own networks, or a name that `check_apart` refuses.
    """
    config = run.config
    if networks_given is None:
        check_apart(config, workdir)
        return run
    if not own_code.is_own(config.network):
        raise ValueError(
            f'{workdir} is a run of {config.network}, which needs no networks to be given: leave '
            'them out'
        )
    config = dataclasses.replace(config, network=networks.named(networks_given))
    return dataclasses.replace(run, config=config)


def check_apart(
    config: TrainConfig, workdir: str | os.PathLike[str], asked: TrainConfig | None = None
) -> None:
    """Checks that a run names no code in its own directory, which may have come with it.

    Args:
      config: the run's.
      workdir: the directory.
      asked: what a person gave; code that is named there may be anywhere.

    Raises:
      ValueError: if it names such code, with how to have it loaded all the same.
    """
    inside = pathlib.Path(workdir).resolve()
    for field in OWN:
        name = getattr(config, field)
        if not own_code.is_own(name) or (asked is not None and getattr(asked, field) == name):
            continue
        path = own_code.file_of(name)
        if path is not None and path.resolve().is_relative_to(inside):
            raise ValueError(
                f'{workdir} names code in its own directory, {messages.printable(path)}, which is '
                f'not run unasked: if you trust it, give --{field}={name}'
            )


def readable(config: TrainConfig) -> TrainConfig:
    """A configuration of the same networks whose objective can be built: one's own may be lost.

    What only draws images has no use for it.
    """
    try:
        objectives.base(config)
    except ValueError:
        plain = {'loss': 'minimax', 'loss_options': (), 'lecam': 0.0, 'top_k': 1.0}
        return dataclasses.replace(config, **plain, label_smoothing=0.0)
    return config


def remarks(config: TrainConfig, gan: GAN, state: TrainState) -> list[str]:
    """Surprising properties of your own networks: their precision, G's range."""
    if not own_code.is_own(config.network):
        return []
    found = []
    if config.precision == 'bfloat16':
        plain = [
            name
            for name in ('generator', 'discriminator')
            if not hasattr(getattr(gan, name), 'dtype')
        ]
        if plain:
            found.append(
                f'precision=bfloat16: the {" and the ".join(plain)} of {config.network} have no '
                'attribute dtype, and compute as they are written'
            )
    z = inference.draw_latents(gan, jax.random.key(config.seed), _SEEN)
    labels = jnp.zeros(_SEEN, jnp.int32) if gan.num_classes else None
    images = inference.compile_generator(gan.generator)(state.settled_variables(), z, labels)
    if float(images.min()) >= 0 and float(images.max()) > 0:
        found.append(
            f"the generator's first images are in [{float(images.min()):.2g}, "
            f'{float(images.max()):.2g}], but images are in [-1, 1] here: end it in tanh, or in '
            'nothing, not in sigmoid or relu'
        )
    return found


def _describe(module: Any, params: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    shapes = [f'{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}' for path, leaf in leaves]
    return {
        'class': type(module).__qualname__,
        'repr': repr(module),
        'parameters': sum(leaf.size for _, leaf in leaves),
        'shapes': checked_npz.digest(*shapes),
    }
