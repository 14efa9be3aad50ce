"""The datasets that have a name."""

import dataclasses
import difflib

TFDS_PREFIX = 'tfds:'


@dataclasses.dataclass(frozen=True)
class Entry:
    """A named dataset.

    Attributes:
      kind: 'digits', 'stacked', 'tfds', 'folder' or 'npz'.
      image_size: default height and width in pixels; None takes the dataset's own. Folders whose
        images all have one oblong shape keep that, with this as the shorter side.
      channels: default number of channels; None takes the dataset's own.
      upscale: whether images smaller than asked are enlarged rather than refused.
      in_memory: whether its images are small enough to keep decoded, where kind is 'tfds'.
      tfds_name: tfds's name, where kind is 'tfds'.
      label_path: keys of the label among tfds's features, where not the usual one.
      class_names: where tfds does not name the classes.
      labelled: whether subfolders are classes, where kind is 'folder'.
    """

    kind: str
    image_size: int | None = None
    channels: int | None = None
    upscale: bool = True
    in_memory: bool = False
    tfds_name: str = ''
    label_path: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    labelled: bool = True


_SMALL = Entry('tfds', 32, 3, in_memory=True)
_LARGE = Entry('tfds', 64, 3, upscale=False)

CATALOGUE = {
    # scikit-learn's handwritten digits, 8x8 grey: 1,500 to train, 297 to test.
    'digits': Entry('digits', 32, 1),
    # Three of them as one colour image, 1,000 classes: 50,000 to train, 10,000 to test.
    'stacked_digits': Entry('stacked', 32, 3),
    # 28x28 grey: 60,000 to train, 10,000 to test.
    'mnist': dataclasses.replace(_SMALL, channels=1, tfds_name='mnist'),
    # 32x32 colour: 50,000 to train, 10,000 to test.
    'cifar10': dataclasses.replace(_SMALL, tfds_name='cifar10'),
    # The same numbers; the 100 fine labels.
    'cifar100': dataclasses.replace(_SMALL, tfds_name='cifar100', label_path=('label',)),
    # Aligned faces, 178x218: 162,770 to train, 19,867 to validate, 19,962 to test. Two classes, on
    # which CGAN conditions.
    'celeb_a': dataclasses.replace(
        _LARGE,
        tfds_name='celeb_a',
        label_path=('attributes', 'Male'),
        class_names=('female', 'male'),
    ),
    # 126,227 to train, 300 to validate, without labels.
    'lsun_church': dataclasses.replace(_LARGE, tfds_name='lsun/church_outdoor', label_path=()),
    # Flickr-Faces-HQ, 70,000 images; its numbered subfolders are not classes.
    'ffhq': Entry('folder', 64, 3, upscale=False, labelled=False),
    'folder': Entry('folder', 64, upscale=False),
    'npz': Entry('npz'),
}


def names() -> tuple[str, ...]:
    """Returns the names that `load` knows, besides `tfds:NAME`."""
    return tuple(CATALOGUE)


def entry(name: str) -> Entry:
    """Returns what is known about a dataset.

    Raises:
      ValueError: unknown name; the message suggests the nearest one.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    if name.startswith(TFDS_PREFIX) and len(name) > len(TFDS_PREFIX):
        return Entry('tfds', tfds_name=name.removeprefix(TFDS_PREFIX))
    near = difflib.get_close_matches(name, CATALOGUE, n=1)
    hint = f' (did you mean {near[0]}?)' if near else ''
    raise ValueError(
        f'unknown dataset {name!r}{hint}: choose one of {", ".join(CATALOGUE)}, or tfds:NAME'
    )
