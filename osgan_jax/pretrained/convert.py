"""Published weights of StyleGAN2 and BigGAN as a run's directory, read like any other run.

Whose weights, and in which forms: `osgan_jax.pretrained.stylegan2` and
`osgan_jax.pretrained.biggan`.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from osgan_jax import networks
from osgan_jax.engine import runs
from osgan_jax.engine.config import fill
from osgan_jax.gan import methods, model
from osgan_jax.gan.config import TrainConfig
from osgan_jax.io import messages, weights
from osgan_jax.pretrained import biggan, stylegan2, writing

_CONVERTERS = {'stylegan2': stylegan2, 'biggan': biggan}

# In a file of both networks. Images are drawn from the average of G, so that it comes first.
_PREFIXES = {'G_ema.': 'generator', 'G.': 'generator', 'D.': 'discriminator'}
# Of networks that were trained in parallel.
_PARALLEL = 'module.'
# Names that tell a generator from a discriminator.
_SYNTHESIS = re.compile(r'(?:synthesis\.b|G_synthesis/)(\d{1,4})[.x]')
_STYLEGAN2_DISCRIMINATOR = re.compile(r'b\d+\.|\d+x\d+/|Output/')
_MAPPING = re.compile(r'(?:mapping\.fc|G_mapping/Dense)\d+[./]weight')
_BIGGAN_OUTPUT = 'output_layer.'
_BIGGAN_BLOCK = re.compile(r'blocks\.(\d+)\.')
# The embedding of labels in a generator, and its axis over labels.
_EMBEDDING = {'stylegan2': ('mapping.embed.weight', 1), 'biggan': ('shared.weight', 0)}

_CHANNELS = 3
# Samples that D compares in the published StyleGAN2.
_MINIBATCH_DEVIATION = 4


class Converted(NamedTuple):
    """A run of published weights.

    Attributes:
      run: as in config.json.
      state: as in the checkpoint.
    """

    run: runs.Run
    state: model.TrainState


def convert(
    paths: Sequence[str | os.PathLike[str]],
    config: TrainConfig,
    workdir: str | os.PathLike[str],
    *,
    generator_only: bool = False,
) -> Converted:
    """Makes a run of published weights: config.json and a checkpoint of step 0.

    Image size and number of classes are found in the weights. The generator's weights are its
    average's too. Optimisers are fresh, and the run has seen no data: it cannot be trained on.

    Args:
      paths: files of weights, as `read_networks` takes them.
      config: method, stylegan2 or biggan, dataset, and what is not as published. How the networks
        were trained is decided here: in two stages, with labels if the weights have them.
      workdir: the run's directory, made if it is not there.
      generator_only: leave the discriminator as it is initialised, whether its weights are given
        or not. Nothing should be compressed under it.

    Raises:
      FileNotFoundError: a file is not there.
      ValueError: the files hold other weights, or those of one network alone; an image size that is
        not theirs; a directory that holds a run.
      osgan_jax.engine.checkpoints.CheckpointError: if saving is impossible, or another run holds
        the directory.
    """
    workdir = pathlib.Path(workdir)
    if config.method not in _CONVERTERS:
        raise ValueError(
            f'method={config.method!r}: published weights are those of {" or ".join(_CONVERTERS)}'
        )
    writing.check_free(workdir)
    found = read_networks(paths, config.method)
    if 'generator' not in found:
        raise ValueError("the weights hold only a discriminator: give a generator's too")
    if 'discriminator' not in found and not generator_only:
        raise ValueError(
            "the discriminator's weights, which experiments.compress needs, are missing: give "
            'their file too, or --generator_only to convert without them'
        )
    run = _describe(config, found['generator'])
    gan = model.build(run.config, num_classes=run.num_classes, steps_per_epoch=0)
    converter = _CONVERTERS[config.method]
    variables = converter.generator_variables(found['generator'], gan.generator)
    params, stats = _split(variables)
    fields = {'params_g': params, 'stats_g': stats}
    if gan.ema_decay:
        fields['ema_g'] = variables
    if not generator_only:
        variables = converter.discriminator_variables(found['discriminator'], gan.discriminator)
        fields['params_d'], fields['stats_d'] = _split(variables)
    state = model.create(gan, run.config.seed).replace(**fields)
    writing.write(workdir, run, state, paths, generator_only=generator_only)
    return Converted(run, state)


def read_networks(
    paths: Sequence[str | os.PathLike[str]], method: str
) -> dict[str, dict[str, np.ndarray]]:
    """Reads the tensors of a generator and a discriminator, told apart by their names.

    A file holds either network; or both, those of the one beginning with `G_ema.` or `G.`, of the
    other with `D.`. `G_ema.` is taken rather than `G.`. StyleGAN2 without labels needs no
    prefixes.

    Args:
      paths: files that `osgan_jax.io.weights.read` reads.
      method: 'stylegan2' or 'biggan'.

    Returns:
      Arrays by name, as 'generator' and 'discriminator', as far as they are there.

    Raises:
      FileNotFoundError: a file is not there.
      ValueError: no file, one that cannot be read or holds neither network, or two that hold
        different tensors of one name.
    """
    if not paths:
        raise ValueError('no weights: give the files of a generator and a discriminator')
    found: dict[str, dict[str, np.ndarray]] = {}
    for path in paths:
        name = messages.printable(path)
        tensors = weights.read(path)
        networks = _networks(tensors, method)
        if not networks:
            some = messages.shorten([messages.quote(tensor) for tensor in tensors]) or 'nothing'
            raise ValueError(f'{name} does not hold a network of {method}: it has {some}')
        for role, own in networks.items():
            merged = found.setdefault(role, {})
            both = merged.keys() & own.keys()
            different = [each for each in both if not np.array_equal(merged[each], own[each])]
            if different:
                some = messages.shorten([messages.quote(each) for each in sorted(different)])
                raise ValueError(
                    f'{name} and another file both hold a {role}, and they differ in {some}: '
                    'give one of them'
                )
            merged.update(own)
    return found


def _networks(tensors: dict[str, np.ndarray], method: str) -> dict[str, dict[str, np.ndarray]]:
    """Returns the tensors of one file by network."""
    found: dict[str, dict[str, np.ndarray]] = {}
    if all(name.startswith(tuple(_PREFIXES)) for name in tensors):
        for prefix, role in _PREFIXES.items():
            own = {
                name.removeprefix(prefix): array
                for name, array in tensors.items()
                if name.startswith(prefix)
            }
            if own and role not in found:
                found[role] = _without_parallel(own)
        return found
    tensors = _without_parallel(tensors)
    if method == 'biggan':
        if any(map(_BIGGAN_BLOCK.match, tensors)):
            is_generator = any(name.startswith(_BIGGAN_OUTPUT) for name in tensors)
            found['generator' if is_generator else 'discriminator'] = tensors
        return found
    discriminator = {
        name: array for name, array in tensors.items() if _STYLEGAN2_DISCRIMINATOR.match(name)
    }
    if not any(map(_SYNTHESIS.match, tensors)):
        # All of it: with labels the discriminator has a mapping network too.
        return {'discriminator': tensors} if discriminator else {}
    found['generator'] = {
        name: array for name, array in tensors.items() if name not in discriminator
    }
    if discriminator:
        found['discriminator'] = discriminator
    return found


def _without_parallel(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if all(name.startswith(_PARALLEL) for name in tensors):
        return {name.removeprefix(_PARALLEL): array for name, array in tensors.items()}
    return tensors


def _describe(config: TrainConfig, generator: dict[str, np.ndarray]) -> runs.Run:
    """Derives a run from a generator's tensors."""
    size = _image_size(generator, config.method)
    if config.image_size not in (None, size):
        raise ValueError(
            f'image_size={config.image_size}: the generator in these weights has {size} pixels; '
            'leave it out'
        )
    name, axis = _EMBEDDING[config.method]
    embedding = generator.get(name)
    # The converter refuses an embedding of another shape.
    fits = embedding is not None and embedding.ndim == 2 and embedding.size
    num_classes = embedding.shape[axis] if fits else 0
    recipe = methods.recipe(config, size).fields
    batch_size = config.batch_size or recipe['batch_size']
    fixed: dict[str, Any] = {
        'scheme': 'two_stage',
        'conditional': bool(num_classes),
        'decay_epochs': (),
        'num_steps': config.steps_per_call,  # the least; none is taken
    }
    if config.method == 'stylegan2':
        fixed['minibatch_deviation'] = _MINIBATCH_DEVIATION
        fixed['mapping_layers'] = _count_mapping_layers(generator)
        fixed['discriminator_skips'] = True
    else:
        fixed['hierarchical_z'] = True
    network = networks.get(config.network or config.method)
    usual = {'width': network.width, 'latent_dim': network.latent_dim(size)}
    # Of a run without steps no start of an average is late.
    usual |= {name: recipe.get(name, 0) for name in ('ema_start', 'ema_ramp')}
    config = methods.resolve(
        fill(dataclasses.replace(config, **fixed), usual),
        image_size=size,
        channels=_CHANNELS,
        num_classes=num_classes,
        num_examples=batch_size,
        asked=config,
    )
    return runs.Run(config, num_classes, class_names=(), num_examples=0)


def _image_size(generator: dict[str, np.ndarray], method: str) -> int:
    """The size of a generator's images, that of its last grid."""
    if method == 'stylegan2':
        grids = [int(match[1]) for match in map(_SYNTHESIS.match, generator) if match]
        return max(grids, default=0)
    blocks = {match[1] for match in map(_BIGGAN_BLOCK.match, generator) if match}
    return 4 << min(len(blocks), 20)


def _count_mapping_layers(generator: dict[str, np.ndarray]) -> int:
    """The layers of a StyleGAN2's mapping network; 8 where the weights have none."""
    return sum(1 for name in generator if _MAPPING.fullmatch(name)) or 8


def _split(variables: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    stats = dict(variables)
    return stats.pop('params'), stats
