"""What to draw: every field a flag of `experiments.edit`."""

import dataclasses
import math
from typing import ClassVar

from osgan_jax.engine.config import Config, field

SHEETS = (
    'mixing',
    'interpolate_z',
    'interpolate_w',
    'interpolate_classes',
    'truncation',
    'direction',
)


@dataclasses.dataclass(frozen=True)
class EditConfig(Config):
    """Sheets to draw, and of what."""

    AT_LEAST: ClassVar[dict[str, float]] = {
        'seed': 0,
        'rows': 1,
        'columns': 2,
        'frames': 2,
        'num_samples': 1,
        'label_samples': 0,
        'target_class': 0,
        'against': 0,
    }

    sheet: tuple[str, ...] = field((), f'some of {", ".join(SHEETS)}')
    seed: int = field(0, 'seed of the latents')
    label: int | None = field(None, 'class of all samples; default every class in turn')
    rows: int = field(6, 'rows of a sheet')
    columns: int = field(8, 'columns of mixing, and of the sheets of paths')
    frames: int = field(32, 'frames of a path, from end to end')
    fps: float = field(16.0, 'frames a second')
    mixing_layers: tuple[str, ...] = field(
        (), 'some of coarse, middle, fine, first-last; default those of the three that there are'
    )
    classes: tuple[int, ...] = field((0, 1), 'the two ends of interpolate_classes')
    truncations: tuple[float, ...] = field(
        (), 'columns of truncation; default -1,-0.5,0,0.25,0.5,0.75,1, in z 0.25,0.5,1,1.5,2,inf'
    )
    strengths: tuple[float, ...] = field(
        (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0), 'columns of direction, in standard deviations'
    )
    label_samples: int = field(0, 'samples to write for labelling')
    labels: str | None = field(None, 'labels of samples: .csv or .npz of index and label')
    classifier: str | None = field(None, 'run of experiments.teacher that labels samples')
    direction: str | None = field(None, 'file of a direction that was found before')
    target_class: int = field(1, 'label that the direction leads to')
    against: int | None = field(None, 'label that it leads away from; default all others')
    orthogonal_to: tuple[str, ...] = field((), 'files of directions along which nothing may change')
    num_samples: int = field(2000, 'samples that a direction is found from')

    def __post_init__(self):
        super().__post_init__()
        if not self.sheet and not self.label_samples:
            raise ValueError(
                f'nothing to draw: give --label_samples, or --sheet, some of {", ".join(SHEETS)}'
            )
        for name in self.sheet:
            if name not in SHEETS:
                raise ValueError(f'sheet={name!r}: expected some of {", ".join(SHEETS)}')
        if not 0 < self.fps <= 100:
            raise ValueError(f'fps={self.fps}: expected above 0, to 100')
        if len(self.classes) != 2:
            raise ValueError(f'classes: expected two, got {len(self.classes)}')
        if not self.strengths or not all(map(math.isfinite, self.strengths)):
            raise ValueError('strengths: expected finite numbers, at least one')
        if sum(x is not None for x in (self.labels, self.classifier, self.direction)) > 1:
            raise ValueError('labels, classifier and direction exclude each other')
