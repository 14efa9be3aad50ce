r"""Draws images from a checkpoint of a training run, or from what experiments.export wrote.

    python -m experiments.sample --pretrained=digits

draws grid.png from a model that is part of this package, in seconds, into
`pretrained-digits/generated`. Of a run of your own

    python -m experiments.sample --workdir=runs/lsgan --grid=64 --interpolate=4

writes grid.png and interpolations.png, one row per pair of latents, to `runs/lsgan/generated` (or
--out), in place of those of an earlier call. It takes seconds. A run that is still training may be
sampled; --step chooses an older checkpoint.

    python -m experiments.sample --workdir=runs/lsgan --grid=0 --count=20000 --format=npz
    python -m experiments.sample --workdir=runs/lsgan --grid=0 --seeds=0-63,85,100 --label=cat,dog

draw sets of images, each into a folder or file of its own, whose name tells the settings, such as
step_5000-seed_0-20000_images.npz. An image is decided by its own seed, or with --count by --seed
and its place, whatever else is drawn. Memory does not grow with the set. Ctrl-C stops a drawing,
and the same command goes on with it. --format is png (a folder of files), zip, or npz (arr_0 uint8
images [N, H, W, C], arr_1 labels); labels of PNG files are in dataset.json, as StyleGAN's tools
write it.

Labels take turns: those of --label, by name or number, or all. With --label_policy=data they are
drawn as often as the dataset has them, as a fair score needs. --truncation=0.7 is psi in w for
networks with a mapping network, and elsewhere the number beyond which no latent lies. StyleGAN2's
noise is drawn for each image anew; along an interpolation it stays the same.

    python -m experiments.sample --workdir=runs/lsgan --grid=0 --video --seeds=1,5,7 --frames=48

writes video.mp4, a loop from seed to seed, beside the set of the images of these seeds. Without
--seeds the loop leads through eight latents of --seed, and with --loop=classes from class to class.
Without the program ffmpeg it is an animated WebP.
"""

import collections
import dataclasses
import pathlib
import sys

from experiments import cli
from osgan_jax.engine.declarations import MAX_SEED, field
from osgan_jax.evaluation.label_policies import POLICIES

_MOST_SEEDS = 10**7


@dataclasses.dataclass(frozen=True)
class SampleConfig(cli.Source):
    """The images to draw, and of which checkpoint."""

    out: str | None = field(
        None, 'directory to write to; by default WORKDIR/generated', group='output', path=True
    )
    step: int | None = field(None, "the checkpoint's step; the newest good one by default")
    seed: int = field(0, 'seed of the latents', at_least=0, at_most=MAX_SEED)
    seeds: tuple[str, ...] = field(
        (), 'a seed for each image, as in 0-63,85,100; they replace --seed and --count'
    )
    label: tuple[str, ...] = field(
        (), 'classes that take turns, by name or number; by default all of them'
    )
    label_policy: str = field(
        'turn',
        "labels of a set's images: classes in turn, drawn with the dataset's frequencies, or drawn "
        'uniformly',
        choices=('turn', *POLICIES),
    )
    truncation: float | None = field(
        None,
        'share of the distance from the average w that is kept, or without a mapping network the '
        'number beyond which no latent lies; by default no truncation',
    )
    grid: int = field(64, 'images in grid.png; 0 for none', group='output', at_least=0)
    count: int = field(0, 'images in a set of separate images', group='output', at_least=0)
    format: str = field(
        'png', 'a set as a folder of PNG files, a zip of them, or an .npz', group='output',
        choices=('png', 'zip', 'npz'),
    )  # fmt: skip
    interpolate: int = field(
        0, 'rows of interpolations.png; 0 for none', group='output', at_least=0
    )
    steps: int = field(10, 'images in a row of interpolations.png', group='output', at_least=2)
    video: bool = field(False, 'draw a video that is a loop', group='output')
    loop: str = field(
        'seeds', 'what the video leads through', group='output', choices=('seeds', 'classes')
    )
    frames: int = field(
        48, 'frames of the video from one seed or class to the next', group='output', at_least=1
    )
    fps: float = field(24.0, 'frames per second', group='output', above=0, at_most=100)

    def __post_init__(self):
        super().__post_init__()
        if self.label and self.label_policy != 'turn':
            raise ValueError('--label and --label_policy exclude each other')
        if self.seeds and self.count:
            raise ValueError('--seeds and --count exclude each other: each seed is an image')
        self.seed_list()
        if not (self.grid or self.count or self.seeds or self.interpolate or self.video):
            raise ValueError(
                'nothing to write: give --grid, --count, --seeds, --interpolate or --video'
            )

    def seed_list(self) -> list[int]:
        """The seeds, in their order.

        Raises:
          ValueError: one is not a seed, or given twice, or they are too many.
        """
        spans = []
        for text in self.seeds:
            first, dash, last = text.strip().partition('-')
            if not (first.isdecimal() and (last.isdecimal() or not dash)):
                raise ValueError(f'seeds={text!r}: expected seeds and ranges, as in 0-63,85,100')
            span = range(int(first), int(last or first) + 1)
            if not span or span[-1] > MAX_SEED:
                raise ValueError(f'seeds={text!r}: expected seeds of at most {MAX_SEED}, ascending')
            spans.append(span)
        if sum(map(len, spans)) > _MOST_SEEDS:
            raise ValueError(f'seeds: expected at most {_MOST_SEEDS:,} of them')
        seeds = [seed for span in spans for seed in span]
        if len(set(seeds)) < len(seeds):
            (twice, _), *_ = collections.Counter(seeds).most_common(1)
            raise ValueError(f'seeds: {twice} is given twice')
        return seeds


@cli.command(SampleConfig, cli.OwnNetworks)
def main(asked: SampleConfig, own: cli.OwnNetworks) -> None:
    """Draws the images and writes them."""
    from experiments import sample_files
    from osgan_jax.compression.config import KINDS
    from osgan_jax.gan import sampling
    from osgan_jax.runtime import stopping

    asked.introduce()
    sampler = sampling.Sampler(asked.source, asked.step, KINDS, own.network)
    out = pathlib.Path(asked.out or asked.folder / 'generated')
    with stopping.Signals() as signals:
        files = sample_files.SampleFiles(asked, sampler, out, signals)
        written = [*files.sheets(), *files.image_set()]
    if written:
        print(f'Wrote {", ".join(written)} to {out}, from step {sampler.step}.', flush=True)


if __name__ == '__main__':
    sys.exit(main())
