r"""Converts published weights of StyleGAN2 or BigGAN into a run.

    python -m experiments.convert --weights=G.npz,D.npz --method=stylegan2 --dataset=ffhq \
        --workdir=runs/official

writes to the workdir config.json and checkpoints/, one of step 0, in half a minute at 256 pixels on
two CPU cores. experiments.sample, evaluate and edit read it like any run, and
experiments.compress --teacher=runs/official accepts it as a teacher. It cannot be trained further.

Weights are .npz, .safetensors, .pth or .pt files of tensors by name: one file a network, or one
file with G_ema. (or G.) and D. before the names. Image size and number of classes are found in
them. --dataset (and --data_dir) is what the authors trained on, which evaluate and compress read.
With --generator_only the discriminator keeps its initial weights; do not use it as a teacher.

BigGAN: the files G_ema.pth and D.pth that the authors of BigGAN-PyTorch publish are read as they
are: --weights=G_ema.pth,D.pth --method=biggan --dataset=tfds:imagenet2012.

StyleGAN2: NVIDIA's files are pickles, which hold code and are not opened here. Convert those that
you trust once, with the authors' own program: in a checkout of stylegan2-ada-pytorch, with its
packages installed, load the file with load_network_pkl of its module legacy, which also reads those
of the TensorFlow release. Take 'G_ema' and 'D' of the result; turn all of each one's state_dict()
into numpy arrays and write them by name with numpy.savez, to G.npz and to D.npz. Networks must be
of configuration F with eight mapping layers, as NVIDIA's of 1,024 pixels are; those with half of
its channels below a grid of 64, or with fewer layers, are refused.
"""

import dataclasses
import sys

from experiments import cli
from osgan_jax.engine.config import REQUIRED, Config, field
from osgan_jax.gan.config import TrainConfig

# What else a run is made with is as published, or found in the weights.
_SHARED = (
    *('method', 'dataset', 'data_dir', 'split', 'upscale', 'seed', 'precision'),
    *('image_size', 'width', 'channel_multiplier', 'latent_dim'),
)
_Shared = cli.only(TrainConfig, _SHARED, required=('method', 'dataset'))


@dataclasses.dataclass(frozen=True)
class Weights(Config):
    """The files to read."""

    weights: tuple[str, ...] = field(
        REQUIRED, "files of G's and D's weights, or one file of both", path=True
    )
    generator_only: bool = field(
        False, 'accept weights without D; the run then cannot be a teacher of experiments.compress'
    )


@cli.command(cli.Workdir, Weights, _Shared)
def main(where: cli.Workdir, files: Weights, shared: Config) -> None:
    """Converts the weights."""
    from osgan_jax.gan import model
    from osgan_jax.pretrained import convert

    run, written = convert.convert(
        files.weights,
        TrainConfig(**dataclasses.asdict(shared)),
        where.workdir,
        generator_only=files.generator_only,
    )
    judge = f'D {model.num_parameters(written.params_d):,} parameters'
    if files.generator_only:
        judge = 'D as it is initialised: compress nothing under it'
    classes = f'{run.num_classes} classes' if run.num_classes else 'no labels'
    print(
        f'Wrote config.json and a checkpoint of step 0 to {where.workdir}: {run.config.method} of '
        f'{run.config.image_size} pixels, {classes}, G '
        f'{model.num_parameters(written.params_g):,} parameters, {judge}.',
        flush=True,
    )


if __name__ == '__main__':
    sys.exit(main())
