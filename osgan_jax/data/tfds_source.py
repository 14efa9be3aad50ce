"""Datasets of tensorflow-datasets, read at random without TensorFlow.

Nothing is downloaded here. Preparing a dataset is a step of its own (`osgan_jax.data.prepare`):
it needs TensorFlow for most of them, can take hours, and must not be started by every process
of a training run at once.
"""

import dataclasses
import os
from typing import Any

import numpy as np

from osgan_jax.data import images
from osgan_jax.io import paths
from osgan_jax.io.messages import reason


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A dataset found on disk.

    Attributes:
      directory: the folder of its files.
      image_key: the feature that holds the image.
      label_path: keys that lead to the label, e.g. `('attributes', 'Male')`; empty without one.
      image_shape: `(H, W, C)`, None where it varies.
      class_names: in label order; empty without labels.
    """

    directory: str
    image_key: str
    label_path: tuple[str, ...]
    image_shape: tuple[int | None, ...]
    class_names: tuple[str, ...]


def find(
    name: str,
    *,
    dataset: str,
    data_dir: str | os.PathLike | None = None,
    label_path: tuple[str, ...] | None = None,
    class_names: tuple[str, ...] | None = None,
) -> Prepared:
    """Finds a prepared dataset, and the features that are its images and labels.

    Args:
      name: tfds's, `dataset`, `dataset/config` or with `:version`.
      dataset: the name that the user gave, for messages.
      data_dir: tfds's root folder; None for tfds's default (`$TFDS_DATA_DIR`, else
        `~/tensorflow_datasets`).
      label_path: the feature that is the label; by default `label`, or the only class label.
      class_names: names of its classes; by default those of the feature.

    Raises:
      ValueError: unknown dataset, no image feature, files that describe it damaged or missing, or
        tensorflow-datasets is not installed.
      FileNotFoundError: it is not prepared, or not as random-access files.
    """
    tfds = _import_tfds()
    builder = _builder(tfds, name, dataset, data_dir)
    features = builder.info.features
    image_key = _image_key(tfds, name, features)
    if label_path is None:
        label_path = _label_path(tfds, features)
    if label_path and class_names is None:
        feature = _descend(features, label_path)
        class_names = tuple(str(value) for value in feature.names or range(feature.num_classes))
    return Prepared(
        directory=os.fspath(builder.data_dir),
        image_key=image_key,
        label_path=label_path,
        image_shape=tuple(features[image_key].shape),
        class_names=class_names or () if label_path else (),
    )


class TfdsSource:
    """Images of one split of a prepared dataset, decoded, resized and cropped when read.

    Files are opened on the first read, so that a copy sent to a worker process opens its own.
    """

    def __init__(
        self,
        prepared: Prepared,
        split: str,
        **options: Any,
    ):
        """Makes a source; options are those of `images.load`.

        Raises:
          ValueError: the dataset has no such split.
        """
        self._prepared = prepared
        self._split = split
        self._options = options
        self._records: Any = None
        self._features: Any = None
        self._decoders: Any = None
        self._open()
        try:
            self._length = len(self._records)
        except (RuntimeError, OSError) as error:
            raise self._damaged(error) from None

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        example = self._read(index)
        # A feature that a record lacks is None.
        if not isinstance(example[self._prepared.image_key], bytes):
            raise self._damaged(f'image {index} of split {self._split} is empty')
        try:
            image = images.load(example[self._prepared.image_key], **self._options)
        except images.UnreadableImageError as error:
            raise images.UnreadableImageError(
                f'image {index} of split {self._split} in {self._prepared.directory}: {error}'
            ) from None
        return image, self._label(index, example)

    def labels(self) -> np.ndarray:
        """The labels of all images, `[M]` int32: every record is read, and no image decoded."""
        labels = [self._label(index, self._read(index)) for index in range(len(self))]
        return np.asarray(labels, np.int32)

    def _read(self, index: int) -> dict[str, Any]:
        """A record's features, the image's bytes among them."""
        if self._records is None:
            self._open()
        try:
            record = self._records[index]
        except (RuntimeError, OSError) as error:
            raise self._damaged(error) from None
        try:
            return self._features.deserialize_example_np(record, decoders=self._decoders)
        # A damaged record: protobuf and tfds raise errors of many kinds.
        except Exception as error:
            raise self._damaged(error) from None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_records': None, '_features': None, '_decoders': None}

    def _label(self, index: int, example: dict[str, Any]) -> int:
        if not self._prepared.label_path:
            return 0
        label = int(_descend(example, self._prepared.label_path))
        num_classes = len(self._prepared.class_names)
        # tfds writes -1 where a label is withheld, as in the test splits of challenges. Networks
        # would take it for the last class.
        if not 0 <= label < num_classes:
            raise ValueError(
                f'image {index} of split {self._split} in {self._prepared.directory} has the '
                f'label {label}, outside 0 to {num_classes - 1}: choose another split'
            )
        return label

    def _damaged(self, error: Exception | str) -> ValueError:
        return ValueError(
            f'files in {self._prepared.directory} are damaged or missing ({reason(error)}): '
            'delete that folder, and prepare the dataset again'
        )

    def _open(self) -> None:
        tfds = _import_tfds()
        try:
            builder = tfds.builder_from_directory(self._prepared.directory)
            features = builder.info.features
        except Exception as error:  # as in _builder
            raise self._damaged(error) from None
        # Parsing the two features that are used skips decoding all others.
        keys = {self._prepared.image_key, *self._prepared.label_path[:1]}
        self._features = tfds.features.FeaturesDict({key: features[key] for key in keys})
        self._decoders = {self._prepared.image_key: tfds.decode.SkipDecoding()}
        try:
            self._records = builder.as_data_source(
                self._split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
            )
        except ValueError as error:
            raise ValueError(
                f'{self._prepared.directory} has no split {self._split!r}, choose one of '
                f'{", ".join(sorted(builder.info.splits))}'
            ) from error


def check_known(name: str) -> None:
    """Checks that tfds can prepare a dataset of this name.

    Raises:
      ValueError: it does not know it (tfds's own message lists all it knows).
    """
    tfds = _import_tfds()
    try:
        tfds.builder_cls(name.split('/')[0].split(':')[0])
    except tfds.core.DatasetNotFoundError:
        raise ValueError(
            f'tensorflow-datasets {tfds.__version__} has no dataset {name!r}'
        ) from None


def _import_tfds():
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ValueError(
            'this dataset is read with tensorflow-datasets, which cannot be imported '
            f'({error}): pip install tensorflow-datasets array_record importlib_resources'
        ) from None
    return tfds


def _builder(tfds, name: str, dataset: str, data_dir: str | os.PathLike | None):
    from tensorflow_datasets.core import constants, read_only_builder

    root = paths.expand(data_dir) if data_dir else os.path.expanduser(constants.DATA_DIR)
    option = f' --data_dir={root}' if data_dir else ''
    command = (
        f"pip install 'osgan_jax[tensorflow]' && "
        f'python -m osgan_jax.data.prepare --dataset={dataset}{option}'
    )
    try:
        builder = read_only_builder.builder_from_files(name, data_dir=root)
    except tfds.core.DatasetNotFoundError:
        builder = None
    # Files that describe the dataset are cut short or missing: json, protobuf and tfds raise errors
    # that do not name them.
    except Exception as error:
        raise ValueError(
            f'{name} cannot be opened in {root} ({reason(error)}): if it is half prepared or '
            f'damaged, delete it there and prepare it again with: {command}'
        ) from None
    if builder is None:
        check_known(name)
        raise FileNotFoundError(
            f'{name} is not prepared in {root}; download and prepare it once with: {command}'
        )
    formats = builder.info.available_file_formats()
    if not any(form.value in ('array_record', 'parquet') for form in formats):
        found = ', '.join(sorted(form.value for form in formats)) or 'no files'
        raise FileNotFoundError(
            f'{builder.data_dir} holds {name} as {found}, which cannot be read at random; '
            f'prepare it again in another --data_dir with: {command}'
        )
    return builder


def _image_key(tfds, name: str, features) -> str:
    keys = [
        key
        for key, feature in features.items()
        if isinstance(feature, tfds.features.Image)
        and not isinstance(feature, tfds.features.LabeledImage)
        and feature.np_dtype in (np.uint8, np.uint16)
    ]
    if 'image' in keys:
        return 'image'
    if len(keys) == 1:
        return keys[0]
    problem = f'several images ({", ".join(keys)})' if keys else 'no images'
    raise ValueError(
        f'{name}: expected a dataset with one image a record, got {problem} '
        f'among its features {", ".join(features)}'
    )


def _label_path(tfds, features) -> tuple[str, ...]:
    keys = [key for key, value in features.items() if isinstance(value, tfds.features.ClassLabel)]
    if 'label' in keys:
        return ('label',)
    return tuple(keys) if len(keys) == 1 else ()


def _descend(tree, path: tuple[str, ...]):
    for key in path:
        tree = tree[key]
    return tree
