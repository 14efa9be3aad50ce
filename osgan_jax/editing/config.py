"""What to draw: the flags of `experiments.edit`."""

import dataclasses
import functools

from osgan_jax.engine.config import MAX_SEED, Config, field

SHEETS = (
    'mixing',
    'interpolate_z',
    'interpolate_w',
    'interpolate_classes',
    'truncation',
    'direction',
)

_directions = functools.partial(field, group='directions')


@dataclasses.dataclass(frozen=True)
class EditConfig(Config):
    """The sheets to draw, and what they show."""

    sheet: tuple[str, ...] = field((), 'sheets to draw', choices=SHEETS)
    seed: int = field(0, 'seed of the latents', at_least=0, at_most=MAX_SEED)
    label: str | None = field(
        None, 'class of all samples, by name or number; by default every class in turn'
    )
    rows: int = field(6, 'rows of a sheet', group='output', at_least=1)
    columns: int = field(
        8, 'columns of mixing and of the sheets that show paths', group='output', at_least=2
    )
    frames: int = field(32, 'frames of a path, from end to end', group='output', at_least=2)
    fps: float = field(16.0, 'frames per second', group='output', above=0, at_most=100)
    mixing_layers: tuple[str, ...] = field(
        (),
        'layers whose styles mixing takes from the columns: some of coarse, middle, fine or '
        'FIRST-LAST; by default coarse, middle and fine, as far as the network has them',
        group='mixing and paths',
    )
    classes: tuple[str, ...] = field(
        ('0', '1'),
        'the two ends of interpolate_classes, by name or number',
        group='mixing and paths',
    )
    truncations: tuple[float, ...] = field(
        (),
        'columns of truncation: values of psi in w, by default -1,-0.5,0,0.25,0.5,0.75,1; '
        'thresholds of a truncated normal in z, by default 0.25,0.5,1,1.5,2,inf',
        group='mixing and paths',
        finite=False,
    )
    strengths: tuple[float, ...] = _directions(
        (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0),
        'columns of direction, in standard deviations along it',
    )
    label_samples: int = _directions(0, 'samples to write for a person to label', at_least=0)
    labels: str | None = _directions(
        None,
        'labels of samples, from which a direction is found: .csv or .npz of index and label',
        path=True,
    )
    classifier: str | None = _directions(
        None,
        'workdir of an experiments.teacher run, whose classifier labels the samples from which '
        'a direction is found',
        path=True,
    )
    direction: str | None = _directions(None, 'file of a direction from an earlier run', path=True)
    target_class: str = _directions(
        '1', 'label towards which the direction leads, by name or number'
    )
    against: str | None = _directions(
        None, 'label from which the direction leads away, by name or number; by default all others'
    )
    orthogonal_to: tuple[str, ...] = _directions(
        (), 'files of directions to which the new direction is made orthogonal', path=True
    )
    num_samples: int = _directions(2000, 'samples from which a direction is found', at_least=1)

    def __post_init__(self):
        super().__post_init__()
        if not self.sheet and not self.label_samples:
            raise ValueError(
                f'nothing to draw: give --label_samples, or --sheet, some of {", ".join(SHEETS)}'
            )
        if len(self.classes) != 2:
            raise ValueError(f'classes: expected two, got {len(self.classes)}')
        if not self.strengths:
            raise ValueError('strengths: expected at least one number')
        if sum(x is not None for x in (self.labels, self.classifier, self.direction)) > 1:
            raise ValueError('labels, classifier and direction exclude each other')
