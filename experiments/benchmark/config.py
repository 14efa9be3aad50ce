"""What to measure: every field a flag of `experiments.benchmark`, most of them lists."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

from osgan_jax.engine import config
from osgan_jax.gan.config import TrainConfig

# two_stage_eager is two_stage as a framework without a compiler runs it; nobody trains with it.
SCHEMES = ('one_stage', 'two_stage', 'two_stage_eager', 'shared_forward')


def _field(default: Any, text: str, *, choices: tuple[str, ...] = ()):
    return dataclasses.field(default=default, metadata={'help': text, 'choices': choices})


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """Cases to time: all combinations of the lists, every scheme on each."""

    scheme: tuple[str, ...] = _field(SCHEMES, 'schemes that take turns; the first is the unit')
    network: tuple[str, ...] = _field(('dcgan',), 'architectures')
    image_size: tuple[int, ...] = _field((64,), 'pixels')
    width: tuple[int, ...] = _field((), "channel units; default the paper's")
    batch_size: tuple[int, ...] = _field((32,), 'real images a step over all devices')
    method: tuple[str, ...] = _field(
        ('lsgan',), 'rows of Table 1, stylegan2, biggan; set loss, norms and rates'
    )
    loss: tuple[str, ...] = _field((), "objectives; default the method's")
    precision: tuple[str, ...] = _field(('float32',), 'arithmetic of the networks')
    num_devices: tuple[int, ...] = _field((), 'numbers of devices; default all')
    steps_per_call: tuple[int, ...] = _field((1,), 'steps in one dispatch')
    accumulate: tuple[int, ...] = _field((1,), 'parts a batch is taken in')
    channels: int = _field(3, '1 or 3')
    latent_dim: int | None = _field(None, 'dimensions of z; default by network')
    discriminator_norm: str | None = _field(None, 'normalisation of D; default by method')
    seed: int = _field(0, 'seed of parameters and images')
    repeats: int = _field(12, 'timed calls of each scheme')
    peer: bool = _field(False, "time PyTorch's steps of the same networks too, if installed")

    def __post_init__(self):
        if self.repeats < 1:
            raise ValueError(f'repeats={self.repeats}: expected at least 1')
        for name, known in (('scheme', SCHEMES), ('precision', config.PRECISIONS)):
            values = getattr(self, name)
            unknown = [value for value in values if value not in known]
            if unknown or not values:
                given = repr(unknown[0]) if unknown else 'nothing'
                raise ValueError(f'{name}: expected some of {", ".join(known)}, got {given}')

    def cases(self) -> list[TrainConfig]:
        """Every combination of the lists, as configurations whose scheme is to be filled in.

        Raises:
          ValueError: for a value that no configuration takes.
        """
        lists: dict[str, Sequence[Any]] = {
            'network': self.network,
            'image_size': self.image_size,
            'width': self.width or (None,),
            'batch_size': self.batch_size,
            'method': self.method,
            'loss': self.loss or (None,),
            'precision': self.precision,
            'num_devices': self.num_devices or (None,),
            'steps_per_call': self.steps_per_call,
            'accumulate': self.accumulate,
        }
        cases = []
        for values in itertools.product(*lists.values()):
            case = dict(zip(lists, values, strict=True))
            # What is written how often means nothing here, but must be multiples of the call.
            every = dict.fromkeys(
                ('log_every', 'sample_every', 'save_every'), case['steps_per_call']
            )
            cases.append(
                TrainConfig(
                    channels=self.channels,
                    latent_dim=self.latent_dim,
                    discriminator_norm=self.discriminator_norm,
                    seed=self.seed,
                    **case,
                    **every,
                )
            )
        return cases
