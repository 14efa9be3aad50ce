"""What a recipe is: values of a configuration's fields, and who published them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from osgan_jax.core.image_sizes import ImageSize


class Setting(NamedTuple):
    """What a recipe depends on beside its method.

    Attributes:
      scheme: one of `osgan_jax.gan.config.SCHEMES`.
      dataset: the dataset's name.
      image_size: height and width of the images, pixels; 0 before the dataset is opened.
      batch_size: images a step, None where nobody asked for a number.
      optimizer: of both networks, one of `osgan_jax.gan.config.OPTIMIZERS`; '' where they differ
        or nobody asked for one.
    """

    scheme: str
    dataset: str
    image_size: ImageSize
    batch_size: int | None
    optimizer: str


class Recipe(NamedTuple):
    """Defaults of a configuration's fields.

    Attributes:
      fields: values by the field's name. Fields that are never open are only compared with.
      source: who published them, and for what; '' for values of this project.
      origin: where values that nobody published come from; '' where there is no more to say.
      epochs: length of the run; 0 where it is this project's.
      images: length of the run in images, 0 for `epochs`.
      half_life: images after which a state counts half in the average of G, where the fields have
        no `ema_decay`; 0 for no average.
      rising: whether the schedule leads the half-life there from 0.
      schedule_images: length of a linear or cosine schedule in images, and by default of the run;
        0 for a schedule as long as the run.
      lacks: parts of what was published that this library does not have.
    """

    fields: Mapping[str, Any]
    source: str = ''
    origin: str = ''
    epochs: int = 0
    images: int = 0
    half_life: float = 0.0
    rising: bool = False
    schedule_images: int = 0
    lacks: tuple[str, ...] = ()

    def schedule(self, decay_epochs: Sequence[int] | None = None) -> str:
        """The kind of schedule, beside such --decay_epochs."""
        decays = self.fields.get('decay_epochs') if decay_epochs is None else decay_epochs
        return (
            'step'
            if decay_epochs
            else self.fields.get('schedule', 'step' if decays else 'constant')
        )

    def ema_decay(self, batch_size: int) -> float:
        """The decay of the average in a step of so many images, 0 for no average."""
        decay = 0.5 ** (batch_size / self.half_life) if self.half_life else 0.0
        return self.fields.get('ema_decay', decay)


Choose = Callable[[Setting], Recipe]
