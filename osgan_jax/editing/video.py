"""Videos of closed paths through latents or classes.

They are MP4 files where the program ffmpeg is there, which takes frames one at a time, and animated
WebP files of `animation` otherwise.
"""

import contextlib
import itertools
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax import reporting
from osgan_jax.editing import animation, paths
from osgan_jax.editing.generators import EditableGenerator
from osgan_jax.gan import sampling, truncation
from osgan_jax.gan.sampling import Sampler
from osgan_jax.io import atomic, messages

SUFFIXES = ('.mp4', animation.SUFFIX)

_SIDE = 256  # pixels that a frame has at least


def through_latents(
    sampler: Sampler, z: jax.Array, label: int | None, frames: int, psi: float | None = None
) -> Iterator[np.ndarray]:
    """The images of a closed path along great circles, from each latent to the next.

    Args:
      sampler: the generator.
      z: latents `[K, Z]`, K at least 2.
      label: of all images: classes are not points on a line; None if unconditional.
      frames: from one latent to the next.
      psi: truncation, see `Sampler.generate`.

    Yields:
      K * frames images `[H, W, C]`, uint8.

    Raises:
      ValueError: for a single latent, or as `Sampler.generate`.
    """
    if len(z) < 2:
        raise ValueError('a video leads from one latent to the next: give two --seeds or more')
    for start, end in zip(z, jnp.roll(z, -1, axis=0), strict=True):
        path = sampling.interpolate(jnp.stack([start, end]), frames + 1)[:-1]
        labels = None if label is None else jnp.full(frames, label)
        yield from reporting.to_uint8(sampler.images(path, labels, None, psi))


def through_classes(
    sampler: Sampler, z: jax.Array, classes: Sequence[int], frames: int, psi: float | None = None
) -> Iterator[np.ndarray]:
    """The images of one latent on a closed path from each class to the next.

    Args:
      sampler: a conditional generator.
      z: the latent `[Z]`.
      classes: labels, K, at least 2.
      frames: from one class to the next.
      psi: truncation, see `Sampler.generate`.

    Yields:
      K * frames images `[H, W, C]`, uint8.

    Raises:
      ValueError: for a single class, a generator that has nothing between its classes, or as
        `Sampler.generate`.
    """
    if len(classes) < 2:
        raise ValueError('a video leads from one class to the next: give two or more by --label')
    generator = EditableGenerator(sampler.gan, sampler.variables)
    generator.require('interpolate_classes')
    if psi is not None and generator.space == 'z':
        z = truncation.truncate(z, psi)
    yield from paths.around_classes(generator, z, classes, frames, 1.0 if psi is None else psi)


def scale(image_shape: tuple[int, int, int]) -> int:
    """The whole factor that makes the longer side of images `(H, W, C)` at least 256 pixels."""
    return max(1, -(-_SIDE // max(image_shape[:2])))


def save(
    folder: str | os.PathLike[str], name: str, frames: Iterable[np.ndarray], *, fps: float
) -> pathlib.Path:
    """Writes a video that begins again where it ends, whole or not at all.

    Args:
      folder: where it comes; created.
      name: of the file, without an ending.
      frames: uint8 `[H, W, 1 or 3]` of one shape, at least 2.
      fps: frames a second, above 0 and at most 100.

    Returns:
      The file, with one of `SUFFIXES`.

    Raises:
      ValueError: ffmpeg cannot make it; or as `animation.save`.
      OSError: the file cannot be written.
    """
    folder = pathlib.Path(folder)
    frames = map(_coloured, frames)
    program = shutil.which('ffmpeg')
    if program is None:
        path = folder / f'{name}{animation.SUFFIX}'
        animation.save(path, list(frames), fps=fps, back=False)
        return path
    path = folder / f'{name}.mp4'
    first = next(frames)
    with atomic.replacing(path) as file:
        _encode(program, file.name, itertools.chain([first], frames), first.shape, fps)
    return path


def _coloured(frame: np.ndarray) -> np.ndarray:
    return frame if frame.shape[-1] == 3 else np.repeat(frame, 3, axis=-1)


def _encode(
    program: str,
    path: str,
    frames: Iterable[np.ndarray],
    shape: tuple[int, int, int],
    fps: float,
) -> None:
    height, width, _ = shape
    command = [
        *(program, '-v', 'error', '-y', '-f', 'rawvideo', '-pix_fmt', 'rgb24'),
        *('-s', f'{width}x{height}', '-r', f'{fps:g}', '-i', 'pipe:0', '-an'),
        # What every player shows: half of the colours' grid, which needs even sides.
        *('-vf', 'pad=ceil(iw/2)*2:ceil(ih/2)*2', '-pix_fmt', 'yuv420p', '-crf', '18'),
        *('-movflags', '+faststart', '-f', 'mp4', path),
    ]
    with tempfile.TemporaryFile() as said:
        # Ctrl-C goes to the whole group: who draws the frames decides when to stop.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=said, stderr=said, process_group=0
        )
        try:
            for frame in frames:
                process.stdin.write(np.ascontiguousarray(frame).data)
        except BrokenPipeError:
            pass  # it has said why
        except BaseException:
            process.kill()
            raise
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            code = process.wait()
        if code:
            said.seek(0)
            words = messages.reason(said.read().decode(errors='replace') or f'exit code {code}')
            raise ValueError(f'{program} could not make a video: {words}')
