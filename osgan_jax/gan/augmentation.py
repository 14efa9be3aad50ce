"""How the images that D sees are augmented, and how likely that is.

DiffAugment's policies are applied to every image. ADA's augmentations are applied with a
probability: a constant, a function of the steps so far, or one that is adapted to how far D
overfits (Karras et al. 2020, https://arxiv.org/abs/2006.06676, section 3). There r_t is the mean
sign of D's logits at real images, near 0 while D learns what real and fake images have in common,
and near 1 where it knows its training set by heart.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from osgan_jax.core import ada, diffaugment, losses
from osgan_jax.core.collectives import ONE_DEVICE, Collectives
from osgan_jax.gan import schedules
from osgan_jax.gan.config import ADA, TrainConfig

Array = jax.Array
Draws = dict[str, Array]
State = dict[str, Array] | None

INTERVAL = 4
"""Steps over which r_t is a mean, and after which the probability moves."""


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Augmentation of all images that D sees; by default none.

    Attributes:
      policies: DiffAugment's policies.
      groups: ADA's groups with their shares of the probability; none without ADA.
      probability: ADA's, in [0, 1], or a function of the steps so far; None adapts it.
      target: r_t to which it is adapted.
      rise: what it moves by, up or down, after every `INTERVAL` steps.
      boundary: the logit at which D is undecided.
    """

    policies: tuple[str, ...] = ()
    groups: tuple[tuple[str, float], ...] = ()
    probability: float | Callable[[Array], Array] | None = None
    target: float = 0.6
    rise: float = 0.0
    boundary: float = 0.0

    @property
    def adapts(self) -> bool:
        """Whether the probability is adapted, so that a state has it."""
        return bool(self.groups) and self.probability is None

    def init(self) -> State:
        """The state before the first step; None where nothing is adapted.

        Its scalars: `probability`; `overfitting`, the newest r_t; `signs`, the sum of the mean
        signs of the steps since.
        """
        if not self.adapts:
            return None
        # Three buffers: donation must not meet one twice.
        return {name: jnp.zeros(()) for name in ('probability', 'overfitting', 'signs')}

    def probability_at(self, state: State, step: Array) -> Array:
        """The probability in a step, float32 scalar; 0 without ADA."""
        if not self.groups:
            return jnp.zeros(())
        if self.adapts:
            return state['probability']
        value = self.probability(step) if callable(self.probability) else self.probability
        return jnp.asarray(value, jnp.float32)

    def draw(
        self,
        key: Array,
        shape: Sequence[int],
        probability: Array,
        collectives: Collectives = ONE_DEVICE,
    ) -> Draws:
        """Random numbers of a batch of this device's `[n, H, W, C]`, arrays of n rows."""
        if self.groups:
            return ada.draw(key, shape, dict(self.groups), probability, collectives=collectives)
        return diffaugment.draw(key, shape, self.policies, collectives=collectives)

    def transform(self, draws: Draws, images: Array) -> Array:
        """Images as D takes them."""
        if self.groups:
            return ada.transform(draws, images)
        return diffaugment.transform(draws, images, self.policies)

    def adapt(self, state: State, step: Array, sign: Array) -> State:
        """The state after a step.

        The authors let the probability exceed 1, where more changes nothing; here it stops at 1.

        Args:
          state: before the step.
          step: the number of steps before this one.
          sign: mean sign of D's logits at the step's real images, less `boundary`.
        """
        if not self.adapts:
            return state
        signs = state['signs'] + sign
        overfitting = signs / INTERVAL
        moved = state['probability'] + self.rise * jnp.sign(overfitting - self.target)
        is_due = (step + 1) % INTERVAL == 0
        after = {
            'probability': jnp.clip(moved, 0, 1),
            'overfitting': overfitting,
            'signs': jnp.zeros(()),
        }
        before = {**state, 'signs': signs}
        return jax.tree.map(lambda a, b: jnp.where(is_due, a, b), after, before)

    def metrics(self, state: State, step: Array) -> dict[str, Array]:
        """The probability, and r_t where it is adapted to it."""
        if not self.groups:
            return {}
        found = {'augment_probability': self.probability_at(state, step)}
        return found | ({'overfitting': state['overfitting']} if self.adapts else {})


def build(
    config: TrainConfig, loss: losses.AdversarialLoss, steps_per_epoch: float
) -> Augmentation:
    """The augmentation of a resolved configuration; `steps_per_epoch` as for `model.build`.

    Raises:
      ValueError: for unknown names, ADA beside others, or a probability that is to be adapted with
        a loss whose logits have no boundary.
    """
    if ADA not in config.augment:
        known = (*diffaugment.POLICIES, ADA)
        for name in config.augment:
            if name not in known:
                raise ValueError(f'augment={name!r}: expected any of {", ".join(known)}')
        diffaugment.check(config.augment)
        return Augmentation(policies=config.augment)
    if len(config.augment) > 1:
        raise ValueError(
            f'augment={",".join(config.augment)}: {ADA} has its own augmentations '
            '(--augment_groups) and excludes the others; give it alone'
        )
    groups = ada.parse(config.augment_groups)
    if not groups:
        raise ValueError(
            f'augment_groups names nothing to augment by: give some of {", ".join(ada.GROUPS)}, '
            f'or leave out --augment={ADA}'
        )
    if config.augment_probability is None and loss.boundary is None:
        raise ValueError(
            f'augment={ADA}: the {loss.name} loss only compares logits, so the sign of a single '
            'logit does not measure overfitting of D; give --augment_probability, or --augment= '
            'for none'
        )
    probability = None
    if config.augment_probability is not None:
        schedule = schedules.of_field(config, 'augment_probability', steps_per_epoch)
        probability = schedule.start if schedule.is_constant else schedule
    return Augmentation(
        groups=tuple(groups.items()),
        probability=probability,
        target=config.ada_target,
        rise=INTERVAL * config.batch_size * config.d_steps / config.ada_images,
        boundary=loss.boundary or 0.0,
    )
