"""The datasets that have a name."""

import dataclasses
import difflib

TFDS_PREFIX = 'tfds:'


@dataclasses.dataclass(frozen=True)
class Entry:
    """A named dataset.

    Attributes:
      title: what it is, for a person.
      kind: 'digits', 'tfds', 'folder' or 'npz'.
      image_size: default height and width in pixels.
      channels: default number of channels; None takes the dataset's own.
      upscale: whether images smaller than asked are enlarged rather than refused.
      in_memory: whether its images are small enough to keep decoded.
      splits: what `split` may be, for a person.
      images: how many images the splits have, for a person.
      labels: what the label is, for a person.
      tfds_name: tfds's name, where kind is 'tfds'.
      label_path: keys of the label among tfds's features, where not the usual one.
      class_names: where tfds does not name the classes.
      labelled: whether subfolders are classes, where kind is 'folder'.
    """

    title: str
    kind: str
    image_size: int | None
    channels: int | None
    upscale: bool
    in_memory: bool
    splits: str
    images: str
    labels: str
    tfds_name: str = ''
    label_path: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    labelled: bool = True


CATALOGUE = {
    'digits': Entry(
        title="scikit-learn's handwritten digits, 8x8 grey; embedded, needs no download",
        kind='digits',
        image_size=32,
        channels=1,
        upscale=True,
        in_memory=True,
        splits='train, test, all',
        images='1,500 train, 297 test',
        labels='10 classes, the digit',
    ),
    'mnist': Entry(
        title='MNIST handwritten digits, 28x28 grey',
        kind='tfds',
        image_size=32,
        channels=1,
        upscale=True,
        in_memory=True,
        splits='train, test, all',
        images='60,000 train, 10,000 test',
        labels='10 classes, the digit',
        tfds_name='mnist',
    ),
    'cifar10': Entry(
        title='CIFAR-10, 32x32 colour',
        kind='tfds',
        image_size=32,
        channels=3,
        upscale=True,
        in_memory=True,
        splits='train, test, all',
        images='50,000 train, 10,000 test',
        labels='10 classes',
        tfds_name='cifar10',
    ),
    'cifar100': Entry(
        title='CIFAR-100, 32x32 colour',
        kind='tfds',
        image_size=32,
        channels=3,
        upscale=True,
        in_memory=True,
        splits='train, test, all',
        images='50,000 train, 10,000 test',
        labels='100 classes (the fine labels)',
        tfds_name='cifar100',
        label_path=('label',),
    ),
    'celeb_a': Entry(
        title='CelebA faces, aligned, 178x218 colour; shorter side to 64, centre crop',
        kind='tfds',
        image_size=64,
        channels=3,
        upscale=False,
        in_memory=False,
        splits='train, validation, test, all',
        images='162,770 train, 19,867 validation, 19,962 test',
        labels="2 classes, gender (the attribute 'Male'), which CGAN conditions on",
        tfds_name='celeb_a',
        label_path=('attributes', 'Male'),
        class_names=('female', 'male'),
    ),
    'lsun_church': Entry(
        title='LSUN church, outdoor; shorter side to 64, centre crop',
        kind='tfds',
        image_size=64,
        channels=3,
        upscale=False,
        in_memory=False,
        splits='train, validation, all',
        images='126,227 train, 300 validation',
        labels='none',
        tfds_name='lsun/church_outdoor',
        label_path=(),
    ),
    'ffhq': Entry(
        title='Flickr-Faces-HQ: the folder of images that data_dir points to',
        kind='folder',
        image_size=64,
        channels=3,
        upscale=False,
        in_memory=False,
        splits='train (all images)',
        images='70,000 at 1024x1024 or as thumbnails at 128x128',
        labels='none (its numbered subfolders are not classes)',
        labelled=False,
    ),
    'folder': Entry(
        title='the folder of images that data_dir points to, read recursively',
        kind='folder',
        image_size=64,
        channels=3,
        upscale=False,
        in_memory=False,
        splits='train (all images)',
        images='as found',
        labels='the subfolders of the folder, if every image is in one and there are several',
    ),
    'npz': Entry(
        title='the .npz file that data_dir points to: images and labels, or jpeg and offset',
        kind='npz',
        image_size=None,
        channels=None,
        upscale=True,
        in_memory=True,
        splits='train (all images)',
        images='as found',
        labels='its array label or labels, named by class_names, if it has one',
    ),
}


def names() -> tuple[str, ...]:
    """Returns the names that `load` knows, besides `tfds:NAME`."""
    return tuple(CATALOGUE)


def describe(name: str) -> str:
    """Returns a few lines about a dataset: what it is, its size, splits and labels.

    Raises:
      ValueError: unknown name.
    """
    known = entry(name)
    size = f'{known.image_size}x{known.image_size}' if known.image_size else 'its own'
    channels = {1: 'grey', 3: 'colour', None: 'channels as stored'}[known.channels]
    lines = [
        f'{name}: {known.title}',
        f'  images:  {known.images}',
        f'  splits:  {known.splits}',
        f'  labels:  {known.labels}',
        f'  default: {size}, {channels}',
    ]
    if known.kind == 'tfds':
        lines.append(f'  prepare: python -m osgan_jax.data.prepare --dataset={name}')
    elif known.kind in ('folder', 'npz'):
        lines.append('  needs:   --data_dir')
    return '\n'.join(lines)


def entry(name: str) -> Entry:
    """Returns what is known about a dataset.

    Raises:
      ValueError: unknown name; the message suggests the nearest one.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    if name.startswith(TFDS_PREFIX) and len(name) > len(TFDS_PREFIX):
        return Entry(
            title=f'{name.removeprefix(TFDS_PREFIX)} of tensorflow-datasets',
            kind='tfds',
            image_size=None,
            channels=None,
            upscale=True,
            in_memory=False,
            splits='as in tfds',
            images='as in tfds',
            labels='the feature label, or the only class label',
            tfds_name=name.removeprefix(TFDS_PREFIX),
        )
    near = difflib.get_close_matches(name, CATALOGUE, n=1)
    hint = f' (did you mean {near[0]}?)' if near else ''
    raise ValueError(
        f'unknown dataset {name!r}{hint}: choose one of {", ".join(CATALOGUE)}, or tfds:NAME'
    )
