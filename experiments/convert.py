r"""Converts published weights into a run: those of StyleGAN2, BigGAN, or a classifier.

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

Classifiers, the teachers of experiments.distill:

    python -m experiments.convert --classifier --weights=resnet34.pth --standardisation=cifar10 \
        --dataset=cifar10 --workdir=runs/resnet34

reads a state dict of a ResNet18 or 34 for CIFAR (kuangliu's names, or torchvision's with a 3x3
stem), torchvision's ResNet18, 34 or 50, a wide ResNet or a LeNet-5; of a training checkpoint it
takes the tensors of its one network. Which network it is, and how many classes it has, is found in
the tensors. --standardisation says how its images were standardised, which they cannot tell:
cifar10, cifar100, imagenet and so on, or --mean and --std, of images in [0, 1]. The names of its
classes are given by --class_names, or by a text file, one a line, by --class_names_file. Students
are measured on --dataset, by default on none. With --measure the accuracy on its test images is
printed: a network with other layers between the same weights shows there.
"""

import dataclasses
import pathlib
import sys

from experiments import cli
from osgan_jax.distillation.config import TeacherConfig
from osgan_jax.engine.config import Config
from osgan_jax.engine.declarations import REQUIRED, dataset_field, field
from osgan_jax.gan.config import TrainConfig
from osgan_jax.io import messages

# What else a run is made with is as published, or found in the weights.
_SHARED = (
    *('data_dir', 'split', 'upscale', 'seed', 'precision'),
    *('image_size', 'width', 'channel_multiplier', 'latent_dim'),
)
_Shared = cli.only(TrainConfig, _SHARED)
# Those of them that classifiers have too.
_OF_CLASSIFIERS = ('data_dir', 'split', 'upscale', 'seed', 'precision', 'image_size')
_Test = cli.only(TeacherConfig, ('test_split', 'test_data_dir', 'mean', 'std'))


@dataclasses.dataclass(frozen=True)
class Weights(Config):
    """The files to read."""

    weights: tuple[str, ...] = field(
        REQUIRED, "files of G's and D's weights, one file of both, or a classifier's", path=True
    )
    method: str | None = field(None, 'the GAN', choices=('stylegan2', 'biggan'))
    dataset: str | None = dataset_field(None)
    generator_only: bool = field(
        False, 'accept weights without D; the run then cannot be a teacher of experiments.compress'
    )


@dataclasses.dataclass(frozen=True)
class Labelled(Config):
    """What else a classifier needs."""

    classifier: bool = field(
        False, 'the weights are those of a classifier, which becomes a teacher', group='networks'
    )
    standardisation: str | None = field(
        None,
        "how the classifier's images were standardised",
        group='data',
        names='osgan_jax.pretrained.standardisations:names',
    )
    class_names: tuple[str, ...] = field(
        (), "names of the classifier's classes in their order", group='data'
    )
    class_names_file: str | None = field(
        None, 'text file of those names, one a line', group='data', path=True
    )
    measure: bool = field(
        False, "print the classifier's accuracy on the test images", group='evaluation'
    )


@cli.command(cli.Workdir, Weights, _Shared, Labelled, _Test)
def main(
    where: cli.Workdir, files: Weights, shared: Config, labelled: Labelled, test: Config
) -> None:
    """Converts the weights."""
    if labelled.classifier:
        _check_only(files, shared)
        if labelled.measure and files.dataset is None:
            raise ValueError('--measure needs images: give --dataset, and where they are')
        return _convert_classifier(where, files, shared, labelled, test)
    if labelled != Labelled() or test != _Test():
        raise ValueError(
            '--standardisation, --class_names, --class_names_file, --measure, --mean, --std, '
            '--test_split and --test_data_dir go with --classifier: give it too, or leave them out'
        )
    missing = [name for name in ('method', 'dataset') if getattr(files, name) is None]
    if missing:
        raise ValueError(
            f'give {" and ".join(f"--{name}" for name in missing)}, or --classifier for the '
            'weights of a classifier'
        )
    return _convert_gan(where, files, shared)


def _convert_gan(where: cli.Workdir, files: Weights, shared: Config) -> None:
    """Makes a GAN's run."""
    from osgan_jax.gan import model
    from osgan_jax.pretrained import convert

    run, written = convert.convert(
        files.weights,
        TrainConfig(method=files.method, dataset=files.dataset, **dataclasses.asdict(shared)),
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


def _convert_classifier(
    where: cli.Workdir, files: Weights, shared: Config, labelled: Labelled, test: Config
) -> None:
    """Makes a teacher's run."""
    from osgan_jax.gan import model
    from osgan_jax.pretrained import classifier_runs

    if len(files.weights) != 1:
        raise ValueError(
            f'weights: expected the one file of a classifier, got {len(files.weights)}'
        )
    own = {name: getattr(shared, name) for name in _OF_CLASSIFIERS}
    converted = classifier_runs.convert(
        files.weights[0],
        TeacherConfig(dataset=files.dataset or 'none', **own, **dataclasses.asdict(test)),
        where.workdir,
        standardisation=labelled.standardisation,
        class_names=_read_names(labelled),
    )
    run, config = converted.run, converted.run.config
    digits = lambda values: ','.join(f'{value:g}' for value in values)  # noqa: E731
    print(
        f'Wrote config.json and a checkpoint of step 0 to {where.workdir}: {config.network} with '
        f'{run.num_classes} classes and '
        f'{model.num_parameters(converted.state.student.params):,} parameters, for '
        f'{config.image_size}x{config.image_size}x{config.channels} images of mean '
        f'{digits(config.mean)} and deviation {digits(config.std)}.',
        flush=True,
    )
    if labelled.measure:
        share, count = classifier_runs.accuracy(converted)
        print(
            f'{share:.2%} of the {count:,} test images of {config.dataset} are classified '
            'correctly.'
        )


def _check_only(files: Weights, shared: Config) -> None:
    """Refuses flags that say something of a GAN."""
    defaults = {**dataclasses.asdict(_Shared()), 'method': None, 'generator_only': False}
    given = {**dataclasses.asdict(shared), 'method': files.method}
    given['generator_only'] = files.generator_only
    wrong = [n for n in given if n not in _OF_CLASSIFIERS and given[n] != defaults[n]]
    if wrong:
        raise ValueError(f'--{wrong[0]} is of a GAN: leave it out with --classifier')


def _read_names(labelled: Labelled) -> tuple[str, ...]:
    """The names of classes, from a file where one is given."""
    path = labelled.class_names_file
    if path is None:
        return labelled.class_names
    if labelled.class_names:
        raise ValueError('--class_names and --class_names_file exclude each other')
    try:
        text = pathlib.Path(path).read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f'class_names_file={path}: expected a text file of names, one a line '
            f'({messages.reason(error)})'
        ) from None
    return tuple(line.strip() for line in text.splitlines() if line.strip())


if __name__ == '__main__':
    sys.exit(main())
