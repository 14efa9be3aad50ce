"""The configuration of a GAN's training run.

`osgan_jax.gan.methods.resolve` fills open fields (None) when the run starts, and the workdir keeps
the result.
"""

import dataclasses
import fractions
import functools
from typing import Any, ClassVar, Self

from osgan_jax import networks
from osgan_jax.engine.config import RunConfig, check_rising, dataset_field, field, fill
from osgan_jax.evaluation.features import CLASSIFIERS, CONVENTIONS, DINOV2_CONVENTIONS
from osgan_jax.evaluation.label_policies import POLICIES

SCHEMES = ('one_stage', 'two_stage', 'shared_forward')
OPTIMIZERS = ('adam', 'optimistic_adam', 'rmsprop', 'sgd')
ADA = 'ada'
"""The name of ADA's augmentations among those of `--augment`."""
ADA_GROUPS = ('blit', 'geom', 'color')
"""The groups of ADA's augmentations that its paper applies."""
ADAMS = ('adam', 'optimistic_adam')
"""Optimisers whose steps are Adam's."""
SCHEDULES = ('constant', 'step', 'linear', 'cosine')
FALLING = ('linear', 'cosine')
"""Schedules that lead from a field's value to that of the field with `_final` after its name."""
GRADIENT_PENALTIES = ('gradient_penalty', 'r1', 'r2')
"""Penalties on D's gradient."""
RATES = ('learning_rate_g', 'learning_rate_d')
SCHEDULED = (*RATES, 'beta2', 'ema_decay', 'augment_probability', *GRADIENT_PENALTIES)
"""The fields that follow --schedule."""
BETAS = ('beta1', 'beta2')

_evaluation = functools.partial(field, group='evaluation', may_change=True)


def _network(help: str, decided_by: str | tuple[str, ...] = 'network', **known: Any) -> Any:
    """An open field of the networks."""
    return field(None, help, group='networks', decided_by=decided_by, **known)


def _optimizer(help: str, decided_by: str | tuple[str, ...] = 'method', **known: Any) -> Any:
    """An open field of the optimisers, at least 0."""
    return field(None, help, group='optimizer', at_least=0, decided_by=decided_by, **known)


def _of_network(whose: str) -> Any:
    """An open field of one network's optimiser, in older runs that of both."""
    return field(
        None,
        f'optimiser of {whose}; by default --optimizer',
        group='optimizer',
        choices=OPTIMIZERS,
        decided_by='optimizer',
    )


def _beta(whose: str, name: str) -> Any:
    """An open field of one network's beta, in older runs that of both."""
    return field(
        None,
        f'--{name} of {whose}; by default --{name}',
        group='optimizer',
        at_least=0,
        below=1,
        decided_by='optimizer',
    )


def _final(help: str, group: str = 'optimizer', **bounds: Any) -> Any:
    """An open field: the value with which --schedule ends."""
    return field(None, help, group=group, at_least=0, decided_by='method', **bounds)


def _penalty(help: str, at_least: float = 0, otherwise: float | None = None) -> Any:
    """An open field of a penalty, which the method decides."""
    known = {'group': 'penalties', 'decided_by': 'method'}
    return field(None, help, at_least=at_least, otherwise=otherwise, **known)


def parse_multiplier(text: str) -> fractions.Fraction:
    """Parses a channel multiplier, such as '1/2', '0.5' or '1'.

    Raises:
      ValueError: for a text that is not a number above 0 and up to 1.
    """
    try:
        value = fractions.Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = fractions.Fraction(0)
    if not 0 < value <= 1:
        raise ValueError(
            f'channel_multiplier={text}: expected a number above 0 and up to 1, as 1/2 or 0.25'
        )
    return value


@dataclasses.dataclass(frozen=True)
class TrainConfig(RunConfig):
    """What to train, on what, and how."""

    KIND: ClassVar[str] = 'train'

    method: str = field(
        'lsgan',
        "row of the paper's Table 1, or wgan_gp, sngan_resnet, stylegan2, biggan or r3gan; sets "
        'loss, networks, rates and penalties',
        names='osgan_jax.gan.methods:names',
    )
    scheme: str = field(
        'one_stage',
        'how the gradients of both networks are computed: one forward and one backward pass '
        'through D, two separate updates, or one forward and two backward passes',
        choices=SCHEMES,
    )
    dataset: str = dataset_field('digits')
    split: str = field(
        'train',
        'part of the dataset; the paper trains on all 202,599 faces of celeb_a (all)',
        group='data',
    )
    upscale: bool | None = field(
        None,
        'enlarge images that are smaller than --image_size, instead of refusing them',
        group='data',
        decided_by='dataset',
    )

    num_steps: int | None = field(
        None,
        'number of steps; by default the published number, or else 30 epochs, and at least '
        '2,000 steps',
        at_least=1,
        decided_by=('method', 'dataset'),
        may_change=True,
    )
    batch_size: int | None = field(
        None,
        'real images per update of D, over all devices; the number of fake images is the same',
        at_least=2,
        decided_by='method',
        otherwise=128,
    )
    d_steps: int | None = field(
        None,
        'updates of D for each update of G; all but the last update D alone, each with its own '
        'batch',
        at_least=1,
        at_most=1000,
        decided_by='method',
        otherwise=1,
        older=1,
    )
    accumulate: int = field(
        1,
        'number of parts into which a batch is split to save memory; BatchNorm in G then uses '
        'the statistics of one part',
        at_least=1,
    )

    loss: str | None = field(
        None,
        "adversarial objective; relativistic_pairing is R3GAN's; relativistic is twice that "
        'loss, so the same r1 and r2 count half as much',
        group='losses',
        names='osgan_jax.core.loss_names:names',
        decided_by='method',
    )
    loss_options: tuple[str, ...] = field(
        (),
        "the objective's hyperparameters, with these defaults: slope=0.0 and "
        'linear_generator=false of geometric, rho=1e-06 of fisher',
        group='losses',
    )
    lecam: float = field(
        0.0,
        "weight of LeCam regularisation, which pulls D's real logits towards the running mean "
        'of its fake logits, and vice versa; 0 for none',
        group='losses',
        at_least=0,
    )
    lecam_decay: float = field(
        0.99, "decay of LeCam's running means per update", group='losses', at_least=0, below=1
    )
    label_smoothing: float = field(
        0.0,
        "amount by which D's target at real images is below 1; for minimax, non_saturating, "
        'boundary_seeking and least_squares',
        group='losses',
        at_least=0,
        below=0.5,
    )
    top_k: float = field(
        1.0,
        'final share of the fake images that G learns from: those with the highest logits; 1 '
        'for all',
        group='losses',
        above=0,
        at_most=1,
    )
    top_k_decay: float = field(
        0.99,
        'factor of the share of fake images after each epoch, from 1 down to --top_k',
        group='losses',
        above=0,
        at_most=1,
    )
    network: str | None = _network(
        'architecture of G and D', names='osgan_jax.networks:names', decided_by='method'
    )
    image_size: int | None = field(
        None,
        'height and width of images, in pixels',
        group='data',
        at_least=1,
        decided_by='dataset',
    )
    channels: int | None = field(
        None, 'channels of images, 1 or 3', group='data', decided_by='dataset'
    )
    width: int | None = _network(
        'base number of channels; in stylegan2 and r3gan the largest number of channels of a layer',
        at_least=1,
    )
    channel_multiplier: str = field(
        '1',
        'share of the channels to keep, above 0 and up to 1, such as 1/2 or 0.5; in biggan only '
        "G's channels",
        group='networks',
    )
    latent_dim: int | None = _network(
        'dimensions of z', decided_by=('method', 'network'), at_least=1
    )
    discriminator_norm: str | None = _network(
        'normalisation in D: group, instance, layer, spectral, batch or none',
        decided_by=('method', 'network'),
    )
    minibatch_deviation: int | None = _network(
        "group size of the minibatch standard deviation in stylegan2's D, 0 for none; 4 by "
        'default, but 0 in one_stage, which needs a D that treats samples independently',
        at_least=0,
        decided_by=('method', 'network', 'scheme'),
    )
    style_mixing: float | None = _network(
        "share of stylegan2's samples that mix the styles of two z; 0.9 by default",
        decided_by=('method', 'network'),
        at_least=0,
        at_most=1,
    )
    mapping_layers: int | None = _network(
        "layers of stylegan2's mapping network; 8 by default",
        decided_by=('method', 'network'),
        at_least=1,
    )
    discriminator_skips: bool | None = _network(
        "residual connections in stylegan2's D; true by default",
        decided_by=('method', 'network'),
    )
    hierarchical_z: bool | None = _network(
        "in biggan, feed a part of z to each of G's blocks, instead of all of z to the first "
        'layer; true by default',
        decided_by=('method', 'network'),
    )
    init: str | None = _network(
        "initialisation of biggan's weights: orthogonal, or normal with standard deviation "
        '0.02; orthogonal by default',
        decided_by=('method', 'network'),
        choices=('orthogonal', 'normal'),
    )
    blocks: int | None = _network(
        'residual blocks per stage of r3gan; 2 by default',
        decided_by=('method', 'network'),
        at_least=1,
    )
    group_channels: int | None = _network(
        "channels per group of r3gan's 3x3 convolutions; 16 by default, 32 in its ImageNet "
        'networks',
        decided_by=('method', 'network'),
        at_least=1,
    )
    full_width: int | None = _network(
        'largest grid, in pixels, at which stages of r3gan have the full width; 32 by default; '
        'each doubling beyond it halves the width',
        decided_by=('method', 'network'),
        at_least=4,
    )
    remat: bool = field(
        False,
        'recompute the blocks of biggan and stylegan2 in the backward pass, which saves memory and '
        'takes time',
        group='networks',
    )
    conditional: bool | None = _network('condition both networks on the label', decided_by='method')

    optimizer: str = field(
        'adam',
        "optimiser of both networks; optimistic_adam extrapolates Adam's steps, 2 u_t - u_(t-1)",
        group='optimizer',
        choices=OPTIMIZERS,
    )
    optimizer_g: str | None = _of_network('G')
    optimizer_d: str | None = _of_network('D')
    learning_rate_g: float | None = _optimizer(
        "G's learning rate", decided_by=('method', 'scheme', 'dataset')
    )
    learning_rate_d: float | None = _optimizer(
        "D's learning rate", decided_by=('method', 'scheme', 'dataset')
    )
    beta1: float | None = _optimizer(
        "decay of Adam's first moment, or SGD's momentum", below=1, otherwise=0.5
    )
    beta2: float | None = _optimizer(
        "decay of Adam's or RMSProp's second moment; 0.99 by default if RMSProp trains both "
        'networks',
        below=1,
        otherwise=0.999,
    )
    beta1_g: float | None = _beta('G', 'beta1')
    beta1_d: float | None = _beta('D', 'beta1')
    beta2_g: float | None = _beta('G', 'beta2')
    beta2_d: float | None = _beta('D', 'beta2')
    adam_epsilon: float | None = _optimizer(
        "term added to Adam's or RMSProp's denominator", otherwise=1e-8
    )
    # As in runs from before RMSProp followed PyTorch's.
    root_epsilon: bool | None = field(
        None,
        "RMSProp's epsilon inside its root",
        decided_by='optimizer',
        otherwise=False,
        flag=False,
    )
    schedule: str | None = field(
        None,
        "how rates, gammas, beta2 and the average's decay change: constant, in steps after each of "
        '--decay_epochs, linearly, or along half a cosine; each ends at the value of its flag with '
        '_final, but step multiplies the rates by --decay_factor',
        group='optimizer',
        choices=SCHEDULES,
        decided_by=('method', 'scheme', 'dataset'),
    )
    schedule_steps: int | None = field(
        None,
        'steps of a linear or cosine schedule, after which the final values stay; by default '
        'the published number, or else --num_steps when the run begins',
        group='optimizer',
        at_least=1,
        decided_by=('method', 'dataset'),
    )
    warmup_steps: int = field(
        0,
        'number of first steps in which both rates rise linearly from 0; a linear or cosine '
        'schedule of the rates begins after them',
        group='optimizer',
        at_least=0,
    )
    penalty_warmup_steps: int = field(
        0,
        'number of first steps in which --r1, --r2 and --gradient_penalty rise linearly from 0; '
        'their linear or cosine schedule begins after them',
        group='penalties',
        at_least=0,
    )
    learning_rate_g_final: float | None = _final(
        "G's learning rate at the end of the schedule; by default the published one, or else 0"
    )
    learning_rate_d_final: float | None = _final(
        "D's learning rate at the end of the schedule; by default the published one, or else 0"
    )
    beta2_final: float | None = _final(
        'beta2 of both networks at the end of the schedule; by default beta2 is constant', below=1
    )
    decay_epochs: tuple[int, ...] | None = field(
        None,
        'epochs after which both rates are multiplied by --decay_factor, in rising order; by '
        'default the published ones, or else none',
        group='optimizer',
        at_least=1,
        decided_by=('method', 'scheme', 'dataset'),
    )
    decay_factor: float | None = _optimizer(
        'factor of both rates after each of --decay_epochs; 0.5 by default if you set these',
        decided_by=('method', 'scheme', 'dataset'),
    )
    weight_clip: float | None = _penalty(
        "bound on the absolute values of D's weights after each step; 0 for none"
    )
    ema_decay: float | None = _optimizer(
        "decay per step of the average of G's weights; 0 for none", below=1, otherwise=0.0
    )
    ema_start: int | None = _optimizer(
        'step at which averaging begins; before it, the average equals G', otherwise=0
    )
    ema_ramp: float | None = _optimizer(
        "bound on the average's half-life, as a share of the images seen so far; 0 for none",
        otherwise=0.0,
        older=0.0,
    )
    ema_decay_final: float | None = _final(
        "the average's decay at the end of the schedule, which interpolates half-lives (a decay "
        'of 0 has a half-life of 0); by default the decay is constant',
        below=1,
    )
    lookahead: int = field(
        0,
        'Lookahead-Minmax: steps between updates of the slow weights, to which both networks '
        'then return; samples and the average use the slow weights; 0 for none',
        group='optimizer',
        at_least=0,
    )
    lookahead_alpha: float = field(
        0.5,
        'step size of the slow weights towards the current weights, with --lookahead; 1 sets '
        'them to the current weights',
        group='optimizer',
        above=0,
        at_most=1,
    )

    r1: float | None = _penalty(
        "R1's gamma: the weight of D's squared gradient at real images is gamma / 2; with the "
        "relativistic loss, use twice R3GAN's value",
        otherwise=0.0,
    )
    r2: float | None = _penalty("R2's gamma: the same as R1's, at fake images", otherwise=0.0)
    gradient_penalty: float | None = _penalty(
        "weight of WGAN-GP's penalty on D's gradient between real and fake images", otherwise=0.0
    )
    r1_final: float | None = _final(
        "R1's gamma at the end of the schedule; by default it is constant", 'penalties'
    )
    r2_final: float | None = _final(
        "R2's gamma at the end of the schedule; by default it is constant", 'penalties'
    )
    gradient_penalty_final: float | None = _final(
        '--gradient_penalty at the end of the schedule; by default it is constant', 'penalties'
    )
    penalty_every: int | None = _penalty(
        'updates of D between its penalties, whose weights are multiplied by that number',
        at_least=1,
        otherwise=1,
    )
    path_length: float | None = _penalty(
        "weight of G's path length penalty, in w where G has one, else in z", otherwise=0.0
    )
    path_length_every: int | None = _penalty(
        "steps between G's path length penalties, whose weights are multiplied by that number",
        at_least=1,
        otherwise=1,
    )
    orthogonal: float | None = _penalty(
        "weight of G's orthogonal regularisation (BigGAN, Eq. 3); at equal weight, the gradient "
        'in BigGAN-PyTorch is half as large',
        otherwise=0.0,
    )
    augment: tuple[str, ...] | None = field(
        None,
        'augmentations of the real and fake images that D sees: some of color, translation, '
        'cutout (DiffAugment, applied to every image), or ada (ADA, each applied with a '
        'probability)',
        group='augmentation',
        decided_by='method',
        otherwise=(),
        older=(),
    )
    augment_groups: tuple[str, ...] | None = field(
        None,
        'groups of augmentations for --augment=ada: some of blit, geom, color, noise, cutout; '
        'color:0.5 applies color with half of the probability',
        group='augmentation',
        decided_by='method',
        otherwise=ADA_GROUPS,
        older=ADA_GROUPS,
    )
    augment_probability: float | None = field(
        None,
        'probability of each augmentation of --augment=ada; by default it starts at 0 and is '
        'adapted',
        group='augmentation',
        at_least=0,
        at_most=1,
        decided_by='method',
    )
    augment_probability_final: float | None = _final(
        '--augment_probability at the end of the schedule; by default it is constant, or '
        'adapted if you do not set --augment_probability',
        'augmentation',
        at_most=1,
    )
    ada_target: float | None = field(
        None,
        "target of ADA's adaptation: the probability grows while the mean sign of D's logits at "
        'real images is above this value',
        group='augmentation',
        above=-1,
        below=1,
        decided_by='method',
        otherwise=0.6,
        older=0.6,
    )
    ada_images: float | None = field(
        None,
        'number of real images in which the adapted probability can rise from 0 to 1',
        group='augmentation',
        at_least=1,
        decided_by='method',
        otherwise=500_000.0,
        older=500_000.0,
    )

    flip: bool | None = field(
        None,
        'mirror half of the real images',
        group='data',
        decided_by=('method', 'dataset'),
        otherwise=False,
    )

    eval_every: int | None = _evaluation(
        None,
        'steps between evaluations, which also keep the best checkpoint in WORKDIR/best; none by '
        'default',
        at_least=1,
    )
    eval_samples: int = _evaluation(
        2048,
        'number of images that each evaluation draws; its time is proportional to this number',
        at_least=2,
    )
    inception_weights: str | None = _evaluation(
        None,
        'file of Inception weights for FID, or fetch to download it; by default a classifier '
        'trained on the dataset provides the features',
        path=True,
    )
    dinov2_weights: str | None = _evaluation(
        None,
        "file of DINOv2's weights for fd_dinov2, such as dinov2_vitl14_pretrain.pth",
        path=True,
    )
    convention: str = _evaluation(
        'torch',
        'how images are resized and scaled: as in an implementation of FID (torch, tf1, clean), '
        'or of fd_dinov2 (torch, pil)',
        choices=tuple(dict.fromkeys((*CONVENTIONS, *DINOV2_CONVENTIONS))),
    )
    classifier: str = _evaluation(
        'standard',
        'classifier that provides features if you give no weights; the small one trains several '
        'times as fast, and its scores are named small_classifier_fd, ...',
        choices=CLASSIFIERS,
    )
    label_policy: str = _evaluation(
        'data',
        "label frequencies of a conditional generator's scored images: data for those of the "
        'real images, uniform for equal ones',
        choices=POLICIES,
    )
    collapse_alarm: bool = field(
        True,
        'warn if samples stay far more alike than real images',
        group='output',
        may_change=True,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.channel_multiplier is not None:
            parse_multiplier(self.channel_multiplier)
        if self.channels not in (None, 1, 3):
            raise ValueError(f'channels={self.channels}: expected 1 or 3')
        check_rising('decay_epochs', self.decay_epochs)

    @property
    def batches_per_step(self) -> int:
        """Batches of real images that a step takes, one for each update of D."""
        return self.d_steps or 1

    def optimizers(self) -> tuple[str, str]:
        """The names of G's and D's optimisers."""
        return self.optimizer_g or self.optimizer, self.optimizer_d or self.optimizer

    def betas(self, name: str) -> tuple[float, float]:
        """The values of G's and D's own `beta1` or `beta2`."""
        return getattr(self, f'{name}_g'), getattr(self, f'{name}_d')

    def span(self, name: str) -> tuple[float, float]:
        """The first and the last value of a field of `SCHEDULED`, or of one network's beta2.

        The configuration is resolved.
        """
        of_both = 'beta2' if name in ('beta2_g', 'beta2_d') else name
        start, end = getattr(self, name), getattr(self, f'{of_both}_final')
        follows = (*FALLING, 'step') if name not in RATES else FALLING
        return start, end if self.schedule in follows and end is not None else start

    def complete(self) -> Self:
        """As `Config.complete`; options that its network was given later have their defaults."""
        later = {
            'root_epsilon': self.optimizer == 'rmsprop',
            'schedule': 'step' if self.decay_epochs else 'constant',
            **dict.fromkeys(('optimizer_g', 'optimizer_d'), self.optimizer),
            **{f'{name}_{whose}': getattr(self, name) for name in BETAS for whose in 'gd'},
        }
        complete = fill(super().complete(), later)
        try:
            options = networks.get(self.network).options
        except ValueError:  # another's, not registered here
            return complete
        return fill(complete, options)
