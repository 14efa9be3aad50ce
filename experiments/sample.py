r"""Draws images from a checkpoint of a training run.

    python -m experiments.sample --workdir=runs/lsgan --count=16 --interpolate=4

writes to `runs/lsgan/generated` (or --out) grid.png, with --count also image_00000.png and so on,
and with --interpolate interpolations.png, one row per pair of latents. It takes seconds. A run that
is still training may be sampled; --step chooses an older checkpoint, --label one class of a
conditional run. StyleGAN2's noise is drawn for each image anew, by --seed; along an interpolation
it stays the same.
"""

import dataclasses
import pathlib
import sys

from experiments import cli
from osgan_jax.engine.config import MAX_SEED, REQUIRED, Config, field


@dataclasses.dataclass(frozen=True)
class SampleConfig(Config):
    """The images to draw, and of which checkpoint."""

    workdir: str = field(REQUIRED, 'directory of the training run')
    out: str | None = field(
        None, 'directory to write to; by default WORKDIR/generated', group='output'
    )
    step: int | None = field(None, "the checkpoint's step; the newest good one by default")
    seed: int = field(0, 'seed of the latents', at_least=0, at_most=MAX_SEED)
    grid: int = field(64, 'images in grid.png; 0 for none', group='output', at_least=0)
    count: int = field(0, 'images to write as separate PNG files', group='output', at_least=0)
    interpolate: int = field(
        0, 'rows of interpolations.png; 0 for none', group='output', at_least=0
    )
    steps: int = field(10, 'images in a row of interpolations.png', group='output', at_least=2)
    label: int | None = field(None, 'class of all images; by default every class in turn')


@cli.command(SampleConfig)
def main(asked: SampleConfig) -> None:
    """Draws the images and writes them."""
    import jax.numpy as jnp

    from osgan_jax import reporting
    from osgan_jax.compression.config import KINDS
    from osgan_jax.gan import sampling

    sampler = sampling.Sampler(asked.workdir, asked.step, KINDS)
    out = pathlib.Path(asked.out or pathlib.Path(asked.workdir) / 'generated')
    scale = reporting.visible_scale(sampler.run.config.image_size)

    def generate(count: int):
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
        for index, image in enumerate(generate(asked.count)):
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


if __name__ == '__main__':
    sys.exit(main())
