"""The 1,797 handwritten digits that ship inside scikit-learn.

They are the embedded default: training runs on a machine with no dataset and no network. The
digits are 8x8 pixels of 17 grey levels, made from 32x32 bitmaps of the "Optical Recognition of
Handwritten Digits" set (E. Alpaydin and C. Kaynak, UCI, 1998; the 13 writers of its test part).

Splits: the first 1,500 in scikit-learn's order are `train`, the last 297 are `test`. The file
goes writer by writer, so that the split is nearly one by writers; a random one would put the same
hands on both sides.
"""

import numpy as np

NUM_TRAIN = 1_500
_ROWS = {'train': slice(NUM_TRAIN), 'test': slice(NUM_TRAIN, None), 'all': slice(None)}


def arrays(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns images `[M, 8, 8, 1]` uint8 and labels `[M]` int32 of a split.

    Raises:
      ValueError: unknown split, or scikit-learn is not installed.
    """
    if split not in _ROWS:
        raise ValueError(f'digits: unknown split {split!r}, choose one of {", ".join(_ROWS)}')
    try:
        from sklearn import datasets
    except ImportError:
        raise ValueError(
            'digits needs scikit-learn, which is not installed: pip install scikit-learn'
        ) from None
    raw = datasets.load_digits()
    # 0..16 is stretched over 0..255.
    images = np.rint(raw.images * (255 / 16)).astype(np.uint8)[..., None]
    return images[_ROWS[split]], raw.target.astype(np.int32)[_ROWS[split]]
