r"""Draws images from a checkpoint of a training run.

    python -m experiments.sample --workdir=runs/lsgan --count=16 --interpolate=4

writes to `runs/lsgan/generated` (or --out) grid.png, with --count also image_00000.png and so on,
and with --interpolate interpolations.png, one row per pair of latents. It takes seconds. A run that
is still training may be sampled; --step chooses an older checkpoint, --label one class of a
conditional run, by its name (--label=dog) or number. StyleGAN2's noise is drawn anew for each
image, from --seed; along an interpolation it stays the same.

    python -m experiments.sample --workdir=runs/biggan --grid=0 --count=10000 --label_policy=data

draws the labels of single images with the frequencies of the dataset, as a fair score requires; by
default the classes take turns.
"""

import dataclasses
import pathlib
import sys

from experiments import cli
from osgan_jax.engine.config import MAX_SEED, REQUIRED, Config, field
from osgan_jax.evaluation.label_policies import POLICIES


@dataclasses.dataclass(frozen=True)
class SampleConfig(Config):
    """The images to draw, and of which checkpoint."""

    workdir: str = field(REQUIRED, 'directory of the training run', path=True)
    out: str | None = field(
        None, 'directory to write to; by default WORKDIR/generated', group='output', path=True
    )
    step: int | None = field(None, "the checkpoint's step; the newest good one by default")
    seed: int = field(0, 'seed of the latents', at_least=0, at_most=MAX_SEED)
    grid: int = field(64, 'images in grid.png; 0 for none', group='output', at_least=0)
    count: int = field(0, 'images to write as separate PNG files', group='output', at_least=0)
    interpolate: int = field(
        0, 'rows of interpolations.png; 0 for none', group='output', at_least=0
    )
    steps: int = field(10, 'images in a row of interpolations.png', group='output', at_least=2)
    label: str | None = field(
        None, 'class of all images, by name or number; by default every class in turn'
    )
    label_policy: str = field(
        'turn',
        "labels of the images of --count: every class in turn, drawn with the dataset's "
        'frequencies, or drawn uniformly',
        choices=('turn', *POLICIES),
    )

    def __post_init__(self):
        super().__post_init__()
        if self.label is not None and self.label_policy != 'turn':
            raise ValueError('--label and --label_policy exclude each other')


@cli.command(SampleConfig, cli.OwnNetworks)
def main(asked: SampleConfig, own: cli.OwnNetworks) -> None:
    """Draws the images and writes them."""
    import jax.numpy as jnp

    from osgan_jax import reporting
    from osgan_jax.compression.config import KINDS
    from osgan_jax.gan import sampling

    sampler = sampling.Sampler(asked.workdir, asked.step, KINDS, own.network)
    out = pathlib.Path(asked.out or pathlib.Path(asked.workdir) / 'generated')
    scale = reporting.visible_scale(sampler.run.config.image_size)

    def generate(count: int, labels=None):
        if labels is None:
            labels = sampler.labels(count, asked.label)
        return sampler.images(sampler.latents(count, asked.seed), labels, asked.seed)

    written = []
    if asked.grid:
        classes = sampler.gan.num_classes if asked.label is None else 0
        count, columns = sampling.grid_shape(classes, asked.grid)
        image = reporting.grid(generate(asked.grid)[:count], columns=columns, scale=scale)
        reporting.save_png(out / 'grid.png', image)
        written.append('grid.png')
    if asked.count:
        for index, image in enumerate(generate(asked.count, _drawn_labels(asked, sampler))):
            reporting.save_png(out / f'image_{index:05d}.png', image)
        written.append(f'{asked.count} separate images')
    if asked.interpolate:
        ends = sampler.latents(2 * asked.interpolate, asked.seed)
        path = sampling.interpolate(ends, asked.steps)
        # One label a row: classes are not points on a line.
        labels = sampler.labels(asked.interpolate, asked.label)
        labels = None if labels is None else jnp.repeat(labels, asked.steps)
        image = reporting.grid(sampler.images(path, labels, None), columns=asked.steps, scale=scale)
        reporting.save_png(out / 'interpolations.png', image)
        written.append('interpolations.png')
    if not written:
        raise ValueError('nothing to write: give --grid, --count or --interpolate')
    print(f'Wrote {", ".join(written)} to {out}, from step {sampler.step}.', flush=True)


def _drawn_labels(asked: SampleConfig, sampler):
    """Labels of separate images; None where every class takes its turn, or there are none."""
    from osgan_jax.engine import messages, runs
    from osgan_jax.gan import trainer

    run = sampler.run
    if asked.label_policy == 'turn' or not sampler.gan.num_classes:
        return None
    counts = ()
    if asked.label_policy == 'data':
        dataset = runs.reopen(
            run,
            asked.workdir,
            lambda: messages.read_dataset(
                run.config.dataset, lambda: trainer.open_dataset(run.config)
            ),
            'its labels cannot follow the data; take --label_policy=uniform',
        )
        counts = dataset.class_counts()
    return sampler.drawn_labels(asked.count, asked.seed, asked.label_policy, counts)


if __name__ == '__main__':
    sys.exit(main())
