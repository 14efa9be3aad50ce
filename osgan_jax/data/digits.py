"""The 1,797 handwritten digits that ship inside scikit-learn.

They are the embedded default: training runs on a machine with no dataset and no network. The
digits are 8x8 pixels of 17 grey levels, made from 32x32 bitmaps of the "Optical Recognition of
Handwritten Digits" set (E. Alpaydin and C. Kaynak, UCI, 1998; the 13 writers of its test part).

Splits: the first 1,500 in scikit-learn's order are `train`, the last 297 are `test`. The file
goes writer by writer, so that the split is nearly one by writers; a random one would put the same
hands on both sides.
"""

import importlib.util
import pathlib

import numpy as np

NUM_TRAIN = 1_500
# Importing scikit-learn takes as long as all other imports of a launch; its file has a line of 64
# values and the label a digit.
_FILE = 'datasets/data/digits.csv.gz'
_ROWS = {'train': slice(NUM_TRAIN), 'test': slice(NUM_TRAIN, None), 'all': slice(None)}


def arrays(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns images `[M, 8, 8, 1]` uint8 and labels `[M]` int32 of a split.

    Raises:
      ValueError: unknown split, or scikit-learn is not installed.
    """
    if split not in _ROWS:
        raise ValueError(f'digits: unknown split {split!r}, choose one of {", ".join(_ROWS)}')
    package = importlib.util.find_spec('sklearn')
    if package is None:
        raise ValueError(
            'digits needs scikit-learn, which is not installed: pip install scikit-learn'
        )
    file = pathlib.Path(package.origin).parent / _FILE
    if file.is_file():
        raw = np.loadtxt(file, delimiter=',', dtype=np.int32)  # it opens .gz, too
        pixels, labels = raw[:, :-1], raw[:, -1]
    else:
        from sklearn import datasets

        pixels, labels = datasets.load_digits(return_X_y=True)
    # 0..16 is stretched over 0..255.
    images = np.rint(pixels.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    return images[_ROWS[split]], labels.astype(np.int32)[_ROWS[split]]
