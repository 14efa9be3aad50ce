"""The rate of the input pipeline alone, in images per second."""

import contextlib
import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Iterator

import numpy as np

from osgan_jax import data
from osgan_jax.core.image_sizes import ImageSize

SYNTHETIC = 'synthetic'
_FACE = (218, 178)  # pixels of the aligned CelebA photographs
_NUM_FACES = 2048


@dataclasses.dataclass(frozen=True)
class PipelineTiming:
    """Rates of one dataset's batches.

    Attributes:
      dataset: its name.
      image_size: pixels, as delivered.
      num_workers: processes that read and decode.
      first_epoch: images per second while files are read for the first time.
      later: images per second after that; None where the first epoch did not end in time.
    """

    dataset: str
    image_size: ImageSize
    num_workers: int
    first_epoch: float
    later: float | None


def measure_pipeline(
    dataset: data.Dataset, *, batch_size: int, num_workers: int = 0, seconds: float = 10.0
) -> PipelineTiming:
    """Takes batches as fast as they come.

    Args:
      dataset: opened.
      batch_size: images a batch.
      num_workers: processes that read and decode.
      seconds: for the first epoch, and again for what follows it.
    """
    an_epoch = len(dataset) // batch_size
    with data.batches(dataset, batch_size, seed=0, num_workers=num_workers) as batches:
        next(batches)  # while the workers start
        first, taken = _rate(batches, batch_size, seconds, an_epoch - 1)
        later = None
        if taken >= an_epoch - 1:
            later, _ = _rate(batches, batch_size, seconds, None)
    return PipelineTiming(dataset.name, dataset.image_size, num_workers, first, later)


@contextlib.contextmanager
def open_dataset(
    name: str, *, data_dir: str | None, image_size: ImageSize, channels: int
) -> Iterator[data.Dataset]:
    """Opens a dataset by name, or synthetic JPEG files of CelebA's shape.

    Args:
      name: as `data.load` takes it, or 'synthetic': 2,048 smooth images of 178x218 pixels.
      data_dir: where the dataset lies.
      image_size: pixels.
      channels: 1 or 3.
    """
    if name != SYNTHETIC:
        yield data.load(
            name, data_dir=data_dir, image_size=image_size, channels=channels, upscale=True
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        _write_faces(pathlib.Path(folder))
        yield data.load('folder', data_dir=folder, image_size=image_size, channels=channels)


def _rate(batches, batch_size: int, seconds: float, most: int | None) -> tuple[float, int]:
    taken, start = 0, time.perf_counter()
    while True:
        next(batches)
        taken += 1
        elapsed = time.perf_counter() - start
        if elapsed > seconds or taken == most:
            return taken * batch_size / elapsed, taken


def _write_faces(folder: pathlib.Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for index in range(_NUM_FACES):
        # Photographs are smooth with some detail; decoding time follows the size of the file.
        small = Image.fromarray(rng.integers(0, 256, (14, 11, 3), np.uint8))
        smooth = np.asarray(small.resize(_FACE[::-1], Image.Resampling.BICUBIC), np.int16)
        noisy = smooth + rng.integers(-6, 7, smooth.shape, np.int16)
        image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        image.save(folder / f'{index:06d}.jpg', quality=90)
