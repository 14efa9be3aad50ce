"""What to draw: the flags of `experiments.edit`."""

import dataclasses
import functools

from osgan_jax.engine.config import Config
from osgan_jax.engine.declarations import MAX_SEED, field

SHEETS = (
    'mixing',
    'interpolate_z',
    'interpolate_w',
    'interpolate_classes',
    'truncation',
    'direction',
    'masked',
    'gradients',
)
SIMILARITIES = ('lpips', 'discriminator', 'classifier', 'pixels')

_projection = functools.partial(field, group='projection')
_directions = functools.partial(field, group='directions')
_networks = functools.partial(field, group='masks and gradients')


@dataclasses.dataclass(frozen=True)
class EditConfig(Config):
    """The sheets to draw, and what they show."""

    sheet: tuple[str, ...] = field((), 'sheets to draw', choices=SHEETS)
    seed: int = field(0, 'seed of the latents', at_least=0, at_most=MAX_SEED)
    label: str | int | None = field(
        None,
        'class of all samples, and of the images of --project, by name or number; by default every '
        'class in turn, and the class that suits an image best',
    )
    project: tuple[str, ...] = _projection(
        (), 'images to find the latents of: files, or folders of them', path=True
    )
    latents: tuple[str, ...] = _projection(
        (),
        'files of latents that --project wrote, which sheets show in place of samples',
        path=True,
    )
    project_space: str | None = _projection(
        None,
        'where latents are sought: w, w_plus (a w for each layer) or z; by default w, and z of '
        'networks without w',
        choices=('w', 'w_plus', 'z'),
    )
    project_steps: int | None = _projection(
        None, 'steps of each projection; by default 1000 in w and 400 in z', at_least=1
    )
    restarts: int = _projection(
        4, 'starts of each projection, the nearest of which is kept', at_least=1
    )
    project_samples: int | None = _projection(
        None,
        'random samples from the nearest of which projections start; by default 1000, fewer beyond '
        '64 pixels',
        at_least=1,
    )
    project_noise: bool = _projection(
        True, "optimise StyleGAN2's noise maps, too; sheets do not draw them"
    )
    similarity: str | None = _projection(
        None,
        "what compares images: LPIPS, or pixels with features of the run's discriminator or of "
        "its dataset's classifier, or pixels alone; by default lpips if there are --lpips_weights, "
        'discriminator otherwise',
        choices=SIMILARITIES,
    )
    lpips_weights: tuple[str, ...] = _projection(
        (), "torchvision's VGG16 and LPIPS's linear weights, two files or one of both", path=True
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
    classes: tuple[str | int, ...] = field(
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
    sample_labels: str | None = _directions(
        None,
        'labels of samples, from which a direction is found: .csv or .npz of index and label',
        path=True,
    )
    labels: str | None = _directions(None, 'the earlier name of --sample_labels', path=True)
    classifier: str | None = _directions(
        None,
        'workdir of an experiments.teacher run, whose classifier labels the samples from which '
        'a direction is found',
        path=True,
    )
    direction: str | None = _directions(None, 'file of a direction from an earlier run', path=True)
    target_class: str | int = _directions(
        '1', 'label towards which the direction leads, by name or number'
    )
    against: str | int | None = _directions(
        None, 'label from which the direction leads away, by name or number; by default all others'
    )
    orthogonal_to: tuple[str, ...] = _directions(
        (), 'files of directions to which the new direction is made orthogonal', path=True
    )
    num_samples: int = _directions(2000, 'samples from which a direction is found', at_least=1)
    masked_shares: tuple[float, ...] = _networks(
        (0.125,),
        "rows of masked: shares of each convolution's weights that are set to 0",
        at_least=0,
        at_most=1,
    )
    gradient_samples: int = _networks(
        32, 'noisy copies of an image over which its gradients are averaged', at_least=1
    )
    gradient_noise: float = _networks(
        0.1, 'deviation of the noise of those copies, as a share of the range of pixels', at_least=0
    )

    def __post_init__(self):
        super().__post_init__()
        if not self.sheet and not self.label_samples and not self.project:
            raise ValueError(
                'nothing to draw: give --project or --label_samples, or --sheet, some of '
                f'{", ".join(SHEETS)}'
            )
        if self.labels is not None:
            if self.sample_labels not in (None, self.labels):
                raise ValueError('--labels is the earlier name of --sample_labels: give one')
            object.__setattr__(self, 'sample_labels', self.labels)
        if len(self.classes) != 2:
            raise ValueError(f'classes: expected two, got {len(self.classes)}')
        if not self.strengths:
            raise ValueError('strengths: expected at least one number')
        if not self.masked_shares:
            raise ValueError('masked_shares: expected at least one number')
        if sum(x is not None for x in (self.sample_labels, self.classifier, self.direction)) > 1:
            raise ValueError('sample_labels, classifier and direction exclude each other')
