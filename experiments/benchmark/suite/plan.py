"""The cases of `--suite=accelerator`, the most important first."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.benchmark.config import SCHEMES

SCALES = ('full', 'tiny')
KINDS = ('steps', 'peer', 'growth', 'loop')

# As published, but for what a plain step does not have: lazy penalties, which a compiler counts as
# if they were of every step, and steps of D alone.
_NETWORKS: dict[str, dict[str, Any]] = {
    'dcgan64': {'method': 'lsgan', 'image_size': 64, 'batch_size': 128},
    'dcgan128': {'method': 'lsgan', 'image_size': 128, 'batch_size': 128},
    'resnet64': {'method': 'sngan_resnet', 'd_steps': 1, 'image_size': 64, 'batch_size': 64},
    'r3gan64': {'method': 'r3gan', 'image_size': 64, 'batch_size': 64},
    'stylegan2_256': {
        **{'method': 'stylegan2', 'image_size': 256, 'batch_size': 32},
        **{'r1': 0.0, 'path_length': 0.0, 'augment': ()},
    },
    'biggan128': {'method': 'biggan', 'd_steps': 1, 'image_size': 128, 'batch_size': 64},
    'dcgan64_r1_r2': {
        **{'method': 'relgan', 'image_size': 64, 'batch_size': 128},
        **{'r1': 1.0, 'r2': 1.0, 'penalty_every': 1},
    },
    'dcgan64_wgan_gp': {'method': 'wgan_gp', 'd_steps': 1, 'image_size': 64, 'batch_size': 128},
}
# The same networks so small that a CPU runs all of them in two minutes.
_TINY: dict[str, dict[str, Any]] = {
    'dcgan64': {'image_size': 16, 'width': 4},
    'dcgan128': {'image_size': 32, 'width': 4},
    'resnet64': {'image_size': 32, 'width': 4},
    'r3gan64': {'image_size': 8, 'width': 8, 'blocks': 1},
    'stylegan2_256': {'image_size': 8, 'width': 8, 'latent_dim': 8},
    'biggan128': {'image_size': 32, 'width': 2, 'latent_dim': 12},
    'dcgan64_r1_r2': {'image_size': 16, 'width': 4},
    'dcgan64_wgan_gp': {'image_size': 16, 'width': 4},
}
_TINY_BATCH = 4
_LARGE = ('stylegan2_256', 'biggan128')
_PENALISED = ('dcgan64_r1_r2', 'dcgan64_wgan_gp')
# Seconds of a case at work; a large network compiles for most of its time.
_LIMIT, _LIMIT_LARGE, _LIMIT_TINY = 75.0, 120.0, 300.0


@dataclasses.dataclass(frozen=True)
class Case:
    """One case: what one worker measures in one go.

    Attributes:
      name: a file's name too.
      kind: 'steps': the schemes by turns; 'peer': with PyTorch's eager and compiled steps;
        'growth': the first scheme at doubled batches, until one does not fit; 'loop': the training
        loop beside the bare step.
      fields: of `TrainConfig`.
      schemes: which of `SCHEMES`.
      doublings: of the batch, of 'growth'.
      tiny: whether it only shows that everything runs.
      limit: seconds at work after which it is ended.
    """

    name: str
    kind: str
    fields: Mapping[str, Any]
    schemes: Sequence[str] = SCHEMES
    doublings: int = 0
    tiny: bool = False
    limit: float = _LIMIT

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> 'Case':
        """The inverse of `dataclasses.asdict`, once through JSON."""
        lists = {name: tuple(v) for name, v in found['fields'].items() if isinstance(v, list)}
        values = {**found, 'fields': {**found['fields'], **lists}}
        return cls(**{**values, 'schemes': tuple(found['schemes'])})


class SkippedError(Exception):
    """A case that this machine cannot have, with the reason."""


def cases(scale: str) -> list[Case]:
    """The cases in the order in which they are begun.

    Args:
      scale: 'full', or 'tiny': small networks and batches, and other precisions of DCGAN alone.
    """
    return list(_cases(scale == 'tiny'))


def _cases(tiny: bool) -> Iterator[Case]:
    def case(network: str, precision: str, kind: str = 'steps', **values: Any) -> Case:
        limit = _LIMIT_LARGE if network in _LARGE else _LIMIT
        fields = {**_NETWORKS[network], 'channels': 3, 'precision': precision, 'num_devices': 1}
        if tiny:
            fields |= {**_TINY[network], 'batch_size': _TINY_BATCH}
        suffix = '' if kind == 'steps' else f'_{kind}'
        return Case(
            f'{network}_{precision}{suffix}',
            kind,
            fields,
            **{'limit': _LIMIT_TINY if tiny else limit, 'tiny': tiny, **values},
        )

    # Of a tiny suite, whose time goes into compiling.
    few = {'schemes': ('one_stage', 'two_stage')} if tiny else {}
    one = {'schemes': ('two_stage',)} if tiny else {}
    first = {'schemes': ('one_stage',)}
    growth = {**first, 'doublings': 1 if tiny else 7}
    yield case('dcgan64', 'bfloat16')
    yield case('dcgan64', 'tensorfloat32', **few)
    both = ('one_stage', 'two_stage')
    yield case('dcgan64', 'bfloat16', 'peer', schemes=both)
    yield case('dcgan128', 'bfloat16', **few)
    yield case('resnet64', 'bfloat16', **one)
    yield case('stylegan2_256', 'bfloat16', **one)
    yield case('biggan128', 'bfloat16', **one)
    yield case('r3gan64', 'bfloat16', **one)
    for network in _PENALISED:
        schemes = ('one_stage', 'shared_forward', 'two_stage')
        yield case(network, 'bfloat16', **{'schemes': schemes, **few})
    yield case('dcgan64', 'bfloat16', 'loop', **first)
    yield case('dcgan64', 'bfloat16', 'growth', **growth)
    yield case('dcgan64', 'float32', **few)
    for network in ('resnet64', 'r3gan64', 'stylegan2_256'):
        yield case(network, 'bfloat16', 'peer', schemes=both)
    if tiny:
        return
    yield case('dcgan64', 'tensorfloat32', 'peer', schemes=both)
    for precision in ('tensorfloat32', 'float32'):
        for network in ('dcgan128', 'resnet64', 'stylegan2_256', 'biggan128', 'r3gan64'):
            yield case(network, precision)
    for network in _PENALISED:
        yield case(network, 'tensorfloat32', schemes=both)
    for network in ('dcgan128', 'resnet64', 'r3gan64', 'biggan128', 'stylegan2_256'):
        yield case(network, 'bfloat16', 'growth', **growth)
