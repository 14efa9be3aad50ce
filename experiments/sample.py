"""Draws images from a checkpoint of a training run.

    python -m experiments.sample --workdir=runs/lsgan --count=16 --interpolate=4

writes to `runs/lsgan/generated` (or --out): grid.png, image_00000.png and so on with --count, and
interpolations.png, a row a pair of latents. Takes seconds. A run that is still training may be
sampled; --step chooses an older checkpoint, --label one class of a conditional run.
"""

import pathlib

from absl import flags

from experiments import cli

_WORKDIR = flags.DEFINE_string('workdir', None, 'directory of the training run', required=True)
_OUT = flags.DEFINE_string('out', None, 'where to write; default WORKDIR/generated')
_STEP = flags.DEFINE_integer('step', None, 'checkpoint; default the newest good one')
_SEED = flags.DEFINE_integer(
    'seed', 0, 'seed of the latents', lower_bound=0, upper_bound=cli.MOST_SEED
)
_GRID = flags.DEFINE_integer(
    'grid', 64, 'images in grid.png, 0 for none', lower_bound=0, upper_bound=cli.MOST
)
_COUNT = flags.DEFINE_integer('count', 0, 'separate PNG files', lower_bound=0, upper_bound=cli.MOST)
_INTERPOLATE = flags.DEFINE_integer(
    'interpolate', 0, 'rows of interpolations.png', lower_bound=0, upper_bound=cli.MOST
)
_STEPS = flags.DEFINE_integer(
    'steps', 10, 'images a row of interpolations', lower_bound=2, upper_bound=cli.MOST
)
_LABEL = flags.DEFINE_integer('label', None, 'class of all images; default every class in turn')


def main() -> None:
    """Writes what the flags ask for."""
    import jax.numpy as jnp

    from osgan_jax import reporting
    from osgan_jax.compression.config import KINDS
    from osgan_jax.gan import sampling

    sampler = sampling.Sampler(_WORKDIR.value, _STEP.value, KINDS)
    out = pathlib.Path(_OUT.value or pathlib.Path(_WORKDIR.value) / 'generated')
    scale = reporting.visible_scale(sampler.run.config.image_size)

    def generate(count: int):
        labels = sampler.labels(count, _LABEL.value)
        return sampler.images(sampler.latents(count, _SEED.value), labels)

    written = []
    if _GRID.value:
        columns = None
        if sampler.gan.num_classes and _LABEL.value is None:
            columns = min(sampler.gan.num_classes, 16, _GRID.value)
        image = reporting.grid(generate(_GRID.value), columns=columns, scale=scale)
        reporting.save_png(out / 'grid.png', image)
        written.append('grid.png')
    if _COUNT.value:
        for index, image in enumerate(generate(_COUNT.value)):
            reporting.save_png(out / f'image_{index:05d}.png', image)
        written.append(f'{_COUNT.value} separate images')
    if _INTERPOLATE.value:
        ends = sampler.latents(2 * _INTERPOLATE.value, _SEED.value)
        path = sampling.interpolate(ends, _STEPS.value)
        # One label a row: classes are not points on a line.
        labels = sampler.labels(_INTERPOLATE.value, _LABEL.value)
        labels = None if labels is None else jnp.repeat(labels, _STEPS.value)
        image = reporting.grid(sampler.images(path, labels), columns=_STEPS.value, scale=scale)
        reporting.save_png(out / 'interpolations.png', image)
        written.append('interpolations.png')
    if not written:
        raise ValueError('nothing to write: give --grid, --count or --interpolate')
    print(f'Wrote {", ".join(written)} to {out}, from step {sampler.step}.', flush=True)


if __name__ == '__main__':
    cli.run(main)
