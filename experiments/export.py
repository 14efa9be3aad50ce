r"""Exports the generator of a training run for others.

    python -m experiments.export --workdir=runs/lsgan --format=safetensors
    python -m experiments.export --workdir=runs/lsgan --format=stablehlo --out=generator

writes to `runs/lsgan/exported/safetensors-step_5000` (or --out) a folder of generator.safetensors
(.npz), whose arrays are named by path, such as params/Dense_0/kernel; export.json, with the run's
configuration, classes, sizes, versions and checksums; and README.txt, with lines of Python that
draw images. It takes seconds. experiments.sample, evaluate and edit read such a folder as their
--workdir.

stablehlo is the generator with its weights as one program, by jax.export: for CPUs, CUDA and TPUs,
for any number of images, without osgan_jax. It takes (z, and as far as the network has them labels,
the seed of its noise, and psi), which export.json describes. JAX promises to run it for six months
after the version that wrote it; weights have no such limit. It needs the package flatbuffers.

Weights are averaged where the run keeps an average, as for sampling; --noaverage takes those of
training. --discriminator adds D's. A folder that is there is replaced with --overwrite alone.

--card adds card.json, for those who will use the weights: data, command, time, and the scores that
experiments.evaluate has recorded of this step. What the run does not know, such as the licence of
the data, is null there, to be filled in by hand; a card that is written again keeps it. With a card
no folder of this machine is named.
"""

import dataclasses
import sys

from experiments import cli
from osgan_jax.engine.config import Config
from osgan_jax.engine.declarations import REQUIRED, field


@dataclasses.dataclass(frozen=True)
class ExportConfig(Config):
    """What to export, and in which form."""

    workdir: str = field(REQUIRED, 'directory of the training run', path=True)
    format: str = field(
        REQUIRED,
        'file of arrays, or program with its weights',
        choices=('safetensors', 'npz', 'stablehlo'),
    )
    out: str | None = field(
        None,
        'folder to write; by default WORKDIR/exported/FORMAT-step_STEP',
        group='output',
        path=True,
    )
    step: int | None = field(None, "the checkpoint's step; the newest good one by default")
    average: bool | None = field(
        None, "take G's average rather than the weights of training; by default as for sampling"
    )
    discriminator: bool = field(False, "write D's weights too", group='output')
    card: bool = field(
        False,
        'write a card too: data, command, time and scores, and gaps for what the run does not know',
        group='output',
    )
    overwrite: bool = field(False, 'replace an export that is there', group='output')


@cli.command(ExportConfig, cli.OwnNetworks)
def main(asked: ExportConfig, own: cli.OwnNetworks) -> None:
    """Exports the networks."""
    from osgan_jax.compression.config import KINDS
    from osgan_jax.pretrained import cards, export

    folder = export.export(
        asked.workdir,
        asked.format,
        out=asked.out,
        step=asked.step,
        average=asked.average,
        discriminator=asked.discriminator,
        card=asked.card,
        overwrite=asked.overwrite,
        kinds=KINDS,
        networks=own.network,
    )
    if asked.card and (gaps := cards.gaps(cards.read(folder))):
        print(f'To fill in by hand in {folder / cards.FILE}: {", ".join(gaps)}.', flush=True)
    names = ', '.join(sorted(path.name for path in folder.iterdir()))
    print(f'Wrote {names} to {folder}.', flush=True)


if __name__ == '__main__':
    sys.exit(main())
