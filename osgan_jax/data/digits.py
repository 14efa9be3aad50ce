"""The 1,797 handwritten digits that ship inside scikit-learn, as a tfds dataset.

They are the embedded default: training runs on a machine with no dataset and no network. The
digits are 8x8 pixels of 17 grey levels, made from 32x32 bitmaps of the "Optical Recognition of
Handwritten Digits" set (E. Alpaydin and C. Kaynak, UCI, 1998; the 13 writers of its test part).

Splits: the first 1,500 in scikit-learn's order are `train`, the last 297 are `test`. The file
goes writer by writer, so that the split is nearly one by writers; a random one would put the same
hands on both sides.
"""

import contextlib
import io
import os
import pathlib

import numpy as np

VERSION = '1.0.0'
NUM_TRAIN = 1_500
SPLITS = ('train', 'test', 'all')


def arrays(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns images `[M, 8, 8, 1]` uint8 and labels `[M]` int32 of a split, from scikit-learn.

    Raises:
      ValueError: unknown split, or scikit-learn is not installed.
    """
    rows = {'train': slice(NUM_TRAIN), 'test': slice(NUM_TRAIN, None), 'all': slice(None)}
    if split not in rows:
        raise ValueError(f'digits: unknown split {split!r}, choose one of {", ".join(SPLITS)}')
    try:
        from sklearn import datasets
    except ImportError:
        raise ValueError(
            'digits needs scikit-learn, which is not installed: pip install scikit-learn'
        ) from None
    raw = datasets.load_digits()
    # 0..16 is stretched over 0..255.
    images = np.rint(raw.images * (255 / 16)).astype(np.uint8)[..., None]
    return images[rows[split]], raw.target.astype(np.int32)[rows[split]]


def prepare(data_dir: str | os.PathLike) -> str:
    """Writes the digits into `data_dir` as a tfds dataset, unless they are there.

    tfds writes into a temporary folder and renames it: an interrupted call leaves nothing that
    looks complete, and of two processes at once the second to finish finds the work done.

    Args:
      data_dir: root folder of tfds datasets.

    Returns:
      The folder of the prepared dataset.

    Raises:
      OSError: `data_dir` cannot be written to, or holds a part of them.
      ImportError: tensorflow-datasets is not installed.
    """
    # Also where the files are there already, the caller is about to read them with it.
    import tensorflow_datasets  # noqa: F401

    final = pathlib.Path(data_dir) / 'digits' / VERSION
    # Asked first: another process may make it at any moment.
    exists = final.exists()
    if not _complete(final):
        if exists:
            # tfds would take it for prepared.
            raise FileExistsError(f'{final} holds only a part of them: delete that folder')
        from osgan_jax.data import digits_builder

        # tfds reports a second of work with three progress bars and two lines on stdout.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            builder = digits_builder.Digits(data_dir=os.fspath(data_dir), version=VERSION)
            try:
                builder.download_and_prepare(file_format='array_record')
            except OSError:
                if not _complete(final):
                    raise
    return os.fspath(final)


def _complete(directory: pathlib.Path) -> bool:
    # tfds writes this file last, and the folder appears under its name at once.
    return (directory / 'dataset_info.json').exists()
