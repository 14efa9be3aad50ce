"""What `experiments.benchmark` measures: every field is a flag, most of them lists."""

import dataclasses
import functools
import itertools

from osgan_jax.core.image_sizes import ImageSize
from osgan_jax.distillation.config import ALGORITHMS
from osgan_jax.engine.config import PRECISIONS, Config
from osgan_jax.engine.declarations import MAX_SEED, declarations, field, image_size_field
from osgan_jax.gan.config import TrainConfig
from osgan_jax.gan.fields.optimisers import OPTIMIZERS

# two_stage_eager is two_stage as a framework without a compiler runs it; no run trains with it.
SCHEMES = ('one_stage', 'two_stage', 'two_stage_eager', 'shared_forward')
# Of D, at every step, or at every --penalty_every-th.
PENALTIES = ('r1', 'r2', 'gradient_penalty')
_penalty = functools.partial(field, group='penalties', decided_by='method', at_least=0)
_NOT_OF_A_CASE = ('scheme', 'repeats', 'peer')


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig(Config):
    """Cases to time: all combinations of the lists, every scheme on each."""

    scheme: tuple[str, ...] = field(
        SCHEMES, 'schemes to time in turns; ratios are relative to the first', choices=SCHEMES
    )
    network: tuple[str, ...] = field(
        ('dcgan',), 'architectures', group='networks', names='osgan_jax.networks:names'
    )
    image_size: tuple[ImageSize, ...] = image_size_field((64,))
    width: tuple[int, ...] = field(
        (), 'base numbers of channels', group='networks', decided_by='network'
    )
    batch_size: tuple[int, ...] = field((32,), 'real images per update of D, over all devices')
    method: tuple[str, ...] = field(
        ('lsgan',),
        "rows of the paper's Table 1, or wgan_gp, sngan_resnet, stylegan2, biggan or r3gan; set "
        'loss, norms and rates',
        names='osgan_jax.gan.methods:names',
    )
    loss: tuple[str, ...] = field(
        (),
        'adversarial objectives',
        group='losses',
        names='osgan_jax.core.loss_names:names',
        decided_by='method',
    )
    optimizer: tuple[str, ...] = field(
        ('adam',), 'optimisers of both networks', group='optimizer', choices=OPTIMIZERS
    )
    precision: tuple[str, ...] = field(
        ('float32',), 'arithmetic of the networks', group='devices', choices=PRECISIONS
    )
    num_devices: tuple[int, ...] = field((), 'numbers of devices; all by default', group='devices')
    steps_per_call: tuple[int, ...] = field(
        (1,), 'steps that one call of the compiled program makes', group='devices'
    )
    accumulate: tuple[int, ...] = field((1,), 'parts into which a batch is split')
    d_steps: tuple[int, ...] = field(
        (),
        'updates of D per step; all but the last update D alone',
        decided_by='method',
        at_least=1,
    )
    shard_state: bool | None = field(
        None,
        'divide parameters, optimisers and averages among devices; by default on accelerators',
        group='devices',
    )
    channels: int = field(3, 'channels of images, 1 or 3', group='data')
    latent_dim: int | None = field(None, 'dimensions of z', group='networks', decided_by='network')
    discriminator_norm: str | None = field(
        None, 'normalisation in D', group='networks', decided_by=('method', 'network')
    )
    r1: tuple[float, ...] = _penalty(
        (), "R1's gammas: penalties on D's squared gradient at real images"
    )
    r2: tuple[float, ...] = _penalty((), "R2's gammas: the same as R1's, at fake images")
    gradient_penalty: tuple[float, ...] = _penalty((), "weights of WGAN-GP's penalty")
    penalty_every: int | None = _penalty(None, 'updates of D between its penalties', at_least=1)
    seed: int = field(0, 'seed of parameters and images', at_least=0, at_most=MAX_SEED)
    repeats: int = field(12, 'timed calls of each scheme', at_least=1)
    peer: bool = field(False, 'also time the same networks in PyTorch; needs the package torch')

    def __post_init__(self):
        super().__post_init__()
        for name in ('scheme', 'precision'):
            if not getattr(self, name):
                raise ValueError(f'{name}: expected at least one')

    def cases(self) -> list[TrainConfig]:
        """Every combination of the lists, as configurations without their scheme.

        Raises:
          ValueError: for a value that no configuration takes.
        """
        fields = [
            each for each in declarations(type(self)).values() if each.name not in _NOT_OF_A_CASE
        ]
        alike = {each.name: getattr(self, each.name) for each in fields if not each.many}
        lists = {
            # An empty list leaves a field open that something else decides.
            each.name: getattr(self, each.name) or (() if each.default else (None,))
            for each in fields
            if each.many
        }
        cases = []
        for values in itertools.product(*lists.values()):
            case = dict(zip(lists, values, strict=True))
            # Nothing is written here, but these must be multiples of steps_per_call.
            every = dict.fromkeys(
                ('log_every', 'sample_every', 'save_every'), case['steps_per_call']
            )
            cases.append(TrainConfig(**alike, **case, **every))
        return cases


@dataclasses.dataclass(frozen=True)
class OtherConfig(Config):
    """The other things to measure, and the file to write."""

    out: str | None = field(
        None,
        'JSON file to write; a PNG is written beside it; with --suite, the directory to write',
        group='output',
        path=True,
    )
    loop: int = field(
        0,
        'training steps by which to measure the overhead of the training loop; 0 for none, else '
        'at least 30',
        at_least=0,
    )
    pipeline: bool = field(False, 'measure the input pipeline alone')
    dataset: str = field(
        'digits',
        'dataset of --loop and --pipeline, or synthetic for JPEG files of 178x218 pixels',
        group='data',
        names='osgan_jax.data:names',
    )
    data_dir: str | None = field(
        None, 'directory or file of --dataset', group='data', decided_by='dataset', path=True
    )
    num_workers: int = field(
        0,
        'processes that read and decode images for --loop and --pipeline',
        group='data',
        at_least=0,
    )
    distill: tuple[str, ...] = field(
        (), 'TEACHER:STUDENT pairs, whose rounds of distillation are timed instead of steps'
    )
    algorithms: tuple[str, ...] = field(
        ('one_stage', 'dfad', 'zskt', 'kd'),
        'algorithms to time in turns with --distill; ratios are relative to the first',
        choices=ALGORITHMS,
    )
    generator_width: int = field(
        128,
        "channels of the generator's first grids, with --distill",
        group='networks',
        at_least=2,
    )


@dataclasses.dataclass(frozen=True)
class SuiteConfig(Config):
    """A list of cases that comes with the benchmark, in place of those that flags describe."""

    suite: str | None = field(
        None,
        'a list of cases to measure within --budget, into the directory --out, in the place of '
        'what other flags describe',
        choices=('accelerator',),
    )
    scale: str = field(
        'full',
        'of --suite: full, or tiny, whose small networks only show, on a CPU, that all of it runs',
        choices=('full', 'tiny'),
    )
    budget: float = field(
        480.0, 'seconds of --suite in all; what does not fit is listed as not run', at_least=30.0
    )
    chart: tuple[str, ...] = field(
        (),
        'files that --out of earlier calls wrote, to draw as one chart, which --out names',
        group='output',
        path=True,
    )
    report: str | None = field(
        None,
        'directory of a suite, also one that was killed, whose table and charts are made again',
        group='output',
        path=True,
    )


@dataclasses.dataclass(frozen=True)
class TargetConfig(Config):
    """Devices that are not there."""

    target: str | None = field(
        None,
        'compile every scheme for a TPU that need not be there, as v5e:2x4 or v5e for one chip, '
        'and print FLOPs, bytes moved, memory and the bounds that follow, in the place of times; '
        'a100, h100 and h200 have bounds of the traced step',
        group='devices',
    )
    bytes: bool = field(
        False, 'with --target, also list where the bytes go, by kind of operation', group='devices'
    )
