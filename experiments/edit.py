r"""Edits images with the generator of a training run.

    python -m experiments.edit --workdir=runs/ffhq --sheet=mixing,interpolate_w,truncation

writes to `runs/ffhq/edits` (or --out) a PNG sheet of each kind in --sheet, and for paths also an
animation (WebP, forwards and backwards). --seed determines the samples, which are numbered as in
experiments.sample with the same seed. On two CPU cores a sheet of a DCGAN at 32 pixels takes
seconds; StyleGAN2 at 256 pixels takes three seconds per image, so choose few --rows and --frames.
With --pretrained=digits in place of --workdir a model of this package is edited.

mixing: --rows by --columns samples, whose images stand along the left and the top edge. Each cell
takes the styles of --mixing_layers from its column's sample and the others from its row's. One
sheet for each of coarse, middle, fine or FIRST-LAST: mixing_coarse.png and so on. StyleGAN2 only.

interpolate_z, interpolate_w: --rows pairs of samples, along great circles in z or straight lines in
w (StyleGAN2). interpolate_classes: --rows samples from one of --classes=0,1 to the other, through
BigGAN's shared embedding, StyleGAN2's w, or what other networks look up for a label. Sheets show
--columns of the --frames: interpolate_z.png, interpolate_z.webp and so on.

truncation: one row per sample, one column for each of --truncations: psi in w (1 is the plain
image, 0 that of the average w), or without w the threshold of a truncated normal z (inf is the
plain image).

direction: finds the direction in w (in z without w) along which samples become --target_class
rather than the other classes (or --against, a single one), by a linear classifier, and prints its
accuracy on held-out samples. The samples' labels come from

    a conditional StyleGAN2 itself: --sheet=direction --target_class=3
    a classifier of experiments.teacher: ... --classifier=runs/teacher --target_class=3
    a person, or any program:
        python -m experiments.edit --workdir=runs/ffhq --label_samples=500
        (fill in LABELS, runs/ffhq/edits/label_samples/labels.csv; empty ones are not used)
        python -m experiments.edit --workdir=runs/ffhq --sheet=direction --sample_labels=LABELS

It writes direction_3.npz, which --direction=FILE reads again, direction_3.png, whose columns are
moved by --strengths, in standard deviations of w along the direction, and direction_3.webp. With
--orthogonal_to=FILE,FILE the direction leaves unchanged what those directions change. With 2,000
digits that a classifier labels it takes seven seconds in all.

    python -m experiments.edit --workdir=runs/ffhq --project=me.png,you.png --sheet=interpolate_w

finds the latents of images: --project takes files and folders. Each image is fitted as the run's
data were, and its latents are sought in w (--project_space=w_plus: in a w for each layer; z without
w) by optimisation from several --restarts, the nearest of which is kept. Images are compared by
LPIPS (--lpips_weights), or by pixels and features of the run's D (--similarity). In a conditional
run all classes are searched, unless --label names one. Distances are printed, beside that of the
nearest of --project_samples random samples. projected/me.png shows the image, its projection and
the curve of the distance; projected/me.npz holds the latents, which --latents=FILE,FILE reads
again. Sheets show these images in place of samples, mixing all pairs of them, paths each image and
the next. For 400 steps from four starts, a digit of a DCGAN of 16 pixels takes a second.

masked: --columns samples drawn with a share of each convolution's weights set to 0 (a row for each
of --masked_shares), and below as they are (Figure 2 of DGL-GAN). gradients: --rows samples, beside
them the gradient of D's logit at each, by channel, averaged over noisy copies of the image; of a
run of experiments.compress also that of the teacher's D (its Figure 5).
"""

import dataclasses
import pathlib
import sys

from experiments import cli
from osgan_jax.editing.config import EditConfig
from osgan_jax.engine.declarations import field


@dataclasses.dataclass(frozen=True)
class Run(cli.Source):
    """The checkpoint to edit with, and where the sheets go."""

    out: str | None = field(
        None, 'directory to write to; by default WORKDIR/edits', group='output', path=True
    )
    step: int | None = field(None, "the checkpoint's step; the newest good one by default")


@cli.command(Run, EditConfig, cli.OwnNetworks)
def main(run: Run, config: EditConfig, own: cli.OwnNetworks) -> None:
    """Draws the sheets."""
    from osgan_jax import editing
    from osgan_jax.compression.config import KINDS
    from osgan_jax.gan import sampling

    run.introduce()
    sampler = sampling.Sampler(run.source, run.step, KINDS, own.network)
    out = pathlib.Path(run.out or run.folder / 'edits')
    written = editing.edit(sampler, config, out, say=lambda text: print(text, flush=True))
    print(f'Wrote {", ".join(written)} to {out}, from step {sampler.step}.', flush=True)


if __name__ == '__main__':
    sys.exit(main())
