"""Fields of the optimisers: rates and their schedule, the average of G, Lookahead."""

import dataclasses
from typing import Any

from osgan_jax.engine.config import Config
from osgan_jax.engine.declarations import check_rising, field
from osgan_jax.gan.fields.final import final_field

OPTIMIZERS = ('adam', 'optimistic_adam', 'rmsprop', 'sgd')
ADAMS = ('adam', 'optimistic_adam')
"""Optimisers whose steps are Adam's."""
SCHEDULES = ('constant', 'step', 'linear', 'cosine')
FALLING = ('linear', 'cosine')
"""Schedules that lead from a field's value to that of the field with `_final` after its name."""
RATES = ('learning_rate_g', 'learning_rate_d')
BETAS = ('beta1', 'beta2')


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
        follows='optimizer',
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
        follows=name,
    )


@dataclasses.dataclass(frozen=True)
class OptimizerFields(Config):
    """How the weights move, and which average of them is sampled."""

    optimizer: str | None = field(
        None,
        "optimiser of both networks; optimistic_adam extrapolates Adam's steps, 2 u_t - u_(t-1), "
        'and is the default in one_stage and shared_forward where nobody published a recipe',
        group='optimizer',
        choices=OPTIMIZERS,
        decided_by=('method', 'scheme', 'dataset'),
        otherwise='adam',
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
    learning_rate_g_final: float | None = final_field(
        "G's learning rate at the end of the schedule; by default the published one, or else 0"
    )
    learning_rate_d_final: float | None = final_field(
        "D's learning rate at the end of the schedule; by default the published one, or else 0"
    )
    beta2_final: float | None = final_field(
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
    ema_decay_final: float | None = final_field(
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

    def __post_init__(self):
        super().__post_init__()
        check_rising('decay_epochs', self.decay_epochs)

    def optimizers(self) -> tuple[str, str]:
        """The names of G's and D's optimisers."""
        return self.optimizer_g or self.optimizer, self.optimizer_d or self.optimizer

    def betas(self, name: str) -> tuple[float, float]:
        """The values of G's and D's own `beta1` or `beta2`."""
        return getattr(self, f'{name}_g'), getattr(self, f'{name}_d')
