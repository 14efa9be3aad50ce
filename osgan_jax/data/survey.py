"""What many images have in common, what is decided of them by that, and in which words it is said.

Nothing is decided from the first image: all of them are looked at. Sizes are said as height x
width, in the order in which they are asked for.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from osgan_jax.core import image_sizes
from osgan_jax.core.image_sizes import ImageSize
from osgan_jax.data import facts, fitting
from osgan_jax.data.images import FULL_SCALE
from osgan_jax.data.reading import Note, Reading
from osgan_jax.io.messages import counted, printable

# Of 16 bits whose greatest value is below this share of white, images are nearly black.
_DARK = 0.5
_CONVERTED = {
    'CMYK': 'CMYK', 'YCbCr': 'YCbCr', 'P': 'of a palette', 'PA': 'of a palette',
    '1': 'of two levels',
}  # fmt: skip


class Survey(NamedTuple):
    """Facts of many images.

    Attributes:
      names: of the images, for messages.
      facts: `[M]` of `facts.DTYPE`.
    """

    names: Sequence[str]
    facts: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Width and height of each, `[M, 2]`."""
        return np.stack([self.facts['width'], self.facts['height']], axis=1).astype(np.int64)

    def channels(self) -> int:
        """1 where no image shows colour, else 3, which loses nothing of the grey ones."""
        return 3 if self.facts['colour'].any() else 1

    def shape(self) -> ImageSize | None:
        """The size that all images have, None where they differ."""
        found = np.unique(self.facts[['width', 'height']])
        return image_sizes.of(*found[0].tolist()[::-1]) if len(found) == 1 else None

    def size(self) -> int:
        """The shorter side that most images have, in pixels; of two as frequent the greater."""
        sides, counts = np.unique(self.sizes.min(axis=1), return_counts=True)
        return int(sides[counts == counts.max()].max())

    def which(self, chosen: np.ndarray, one: str = '', many: str = '') -> str:
        """How many images are chosen, and the name of the first.

        Args:
          chosen: `[M]` bool.
          one: the verb that follows, of one image.
          many: of several.
        """
        indices = np.flatnonzero(chosen)
        verb = one if len(indices) == 1 else many
        images = f'{len(indices):,} of {counted(len(self.facts), "image")}'
        return f'{images} ({printable(self.names[indices[0]])}) {verb}'.rstrip()


def check_sizes(root: str, found: Survey, image_size: ImageSize, sizes: Sequence[int] = ()) -> None:
    """Refuses images of which a side is below that of `image_size`.

    Args:
      root: the folder or file that holds them.
      found: the images.
      image_size: as asked for.
      sizes: sides of the squares that a network has, to advise one of.

    Raises:
      ValueError: says how many, names the smallest, and what to do.
    """
    reach = _reach(found.sizes, image_size)
    small = int(np.sum(reach < 1))
    if small:
        smallest = int(np.argmin(reach))
        width, height = found.sizes[smallest]
        raise ValueError(
            f'{small:,} of {counted(len(reach), "image")} in {printable(root)} '
            f'{"is" if small == 1 else "are"} smaller than {image_sizes.text(image_size)}, the '
            'smallest is '
            f'{printable(found.names[smallest])} with {height}x{width} pixels: '
            + advise(found.sizes[smallest], image_size, sizes)
        )


def advise(smallest: Sequence[int], image_size: ImageSize, sizes: Sequence[int] = ()) -> str:
    """What to do where images are smaller than asked for: only what works.

    Args:
      smallest: width and height of the image that lacks most.
      image_size: as asked for.
      sizes: sides of the squares that a network has, to advise one of.
    """
    text = f'--upscale enlarges them to {image_sizes.text(image_size)}'
    scaled = [image_sizes.like(side, image_size) for side in sizes]
    possible = [
        size
        for size in scaled or [image_sizes.largest(*smallest, image_size)]
        if image_sizes.short(size) and _reach(np.asarray([smallest]), size).item() >= 1
    ]
    if possible:
        most = max(possible, key=image_sizes.sides)
        text += f', --image_size={most} makes all of them {image_sizes.text(most)}'
    return text


def _reach(sizes: np.ndarray, image_size: ImageSize) -> np.ndarray:
    """The part of a size that images `[M, 2]`, width and height, have of its scarcer side."""
    return (sizes / image_sizes.sides(image_size)[::-1]).min(axis=1)


def notes(
    found: Survey, reading: Reading, *, image_size: ImageSize, channels: int, decoded: bool = True
) -> list[Note]:
    """What becomes of the images, as notes: only what somebody may not expect.

    Args:
      found: the images.
      reading: how they are read.
      image_size: that they get.
      channels: that they get.
      decoded: whether facts are of pixels, and not of headers alone.
    """
    said = [
        *_colour(found, channels, decoded),
        *shape_notes(found, reading.fit, image_size),
        *_depth(found, reading.white_level),
        *_frames(found, reading.frames, decoded),
    ]
    through = found.facts['transparent']
    if through.any():
        verbs = ('is', 'are') if decoded else ('may be', 'may be')
        said.append(
            (
                'background',
                f'{found.which(through, *verbs)} transparent: {reading.background} is put behind '
                'them; --background sets another colour',
            )
        )
    modes: Counter[str] = Counter()
    kinds, first, counts = np.unique(found.facts['mode'], return_index=True, return_counts=True)
    for index in first.argsort():  # in the order of the images
        mode = kinds[index].decode()
        if mode in _CONVERTED:
            modes[_CONVERTED[mode]] += int(counts[index])
    if modes:
        kinds = ', '.join(f'{count:,} {mode}' for mode, count in modes.most_common())
        said.append(('converted', f'{kinds}, to {"grey" if channels == 1 else "RGB"}'))
    if turned := int(found.facts['turned'].sum()):
        said.append(('turned', f'{counted(turned, "image")} by EXIF'))
    return said


def _colour(found: Survey, channels: int, decoded: bool) -> list[Note]:
    colour = found.facts['colour']
    if channels == 1 and colour.any():
        lost = 'colours that become' if decoded else 'what may be colours, made'
        return [
            (
                'channels',
                f'1: {found.which(colour, "holds", "hold")} {lost} grey; --channels=3 keeps them',
            )
        ]
    if channels == 1:
        return [('channels', '1: no image shows a colour; --channels=3 repeats them in three')]
    if not colour.any():
        return [('channels', '3: all images are grey, repeated in three; --channels=1 has one')]
    if not colour.all():
        grey = found.which(~colour, 'shows no colour, and is', 'show no colour, and are')
        return [('channels', f'3: {grey} repeated in three')]
    return []


def shape_notes(found: Survey, fit: str, image_size: ImageSize) -> list[Note]:
    """What becomes of images that have another shape or are smaller, as notes."""
    sizes = found.sizes
    said = []
    kinds, kind = np.unique(sizes, axis=0, return_inverse=True)
    oblong = np.asarray([fitting.differs(*size, image_size) for size in kinds.tolist()])[kind]
    if oblong.any():
        if fit == 'crop':
            shares = [fitting.share_cropped(*size, image_size) for size in kinds.tolist()]
            lost = np.asarray(shares)[kind]
            most = int(lost.argmax())
            width, height = sizes[most]
            others = '--fit=pad or --fit=stretch keeps all'
            if len(sizes) == 1:
                text = f'crop: the centre is kept, {lost[0]:.0%} of the pixels go; {others}'
            else:
                which = found.which(oblong)
                text = (
                    f'crop: of {which} only the centre is kept; {_share(lost.mean())} of all '
                    f'pixels go, at most {_share(lost[most])} ({printable(found.names[most])}, '
                    f'{height}x{width}); {others}'
                )
        elif fit == 'pad':
            which = found.which(oblong, 'gets', 'get')
            text = f'pad: {which} borders; --background sets their colour'
        else:
            wide = sizes / image_sizes.sides(image_size)[::-1]
            most = (wide.max(1) / wide.min(1)).max()
            which = found.which(oblong, 'is', 'are')
            text = f'stretch: {which} distorted, at most {most:.2g} times'
        said.append(('fit', text))
    reach = _reach(sizes, image_size)
    small = reach < 1
    if small.any():
        least = int(reach.argmin())
        width, height = sizes[least]
        said.append(
            (
                'enlarged',
                f'{found.which(small)}, the smallest from {height}x{width} to '
                f'{image_sizes.text(image_size)}',
            )
        )
    return said


def notes_of_shape(
    name: str, shape: tuple[int, int], fit: str, image_size: ImageSize
) -> list[Note]:
    """What becomes of the shape of images that are all of one, as notes."""
    one = Survey([name], facts.table([facts.of_array((*shape, 1))]))
    return [note for note in shape_notes(one, fit, image_size) if note[0] == 'fit']


def _share(share: float) -> str:
    return f'{share:.0%}' if share >= 0.01 else 'less than 1%'


def _depth(found: Survey, white_level: int) -> list[Note]:
    peaks = found.facts['peak']
    colour = (peaks > 0) & ~np.char.startswith(found.facts['mode'], b'I')
    said = []
    if 0 < (peak := peaks.max(where=colour, initial=0)) < _DARK * FULL_SCALE:
        said.append(
            (
                'dark',
                f'{found.which(colour, "has", "have")} 16 bits a channel, up to {peak:,}, and '
                f'will be dark: scale them to {FULL_SCALE:,}, as --white_level is for grey alone',
            )
        )
    deep = (peaks > 0) & ~colour
    if not deep.any():
        return said
    peak = int(peaks[deep].max())
    which = found.which(deep, 'has', 'have')
    text = f'{which} 16 bits, up to {peak:,}, with {white_level:,} as white'
    if peak < _DARK * white_level:
        level = 2 ** int(peak).bit_length() - 1
        text += f', and will be dark; --white_level={level} makes them bright'
    elif peak > white_level:
        text += f', so that greater values are cut off; --white_level={FULL_SCALE} keeps them'
    return [*said, ('white level', text)]


def _frames(found: Survey, frames: str, decoded: bool) -> list[Note]:
    many = found.facts['frames'] > 1
    if not many.any():
        return []
    # Frames of one file stand side by side where all are taken.
    if frames == 'all' and decoded:
        return [
            ('frames', f'all are taken: {found.which(many, "is", "are")} of files with several')
        ]
    count = int((found.facts['frames'].astype(np.int64) - 1).sum())
    # Not decoded are those of archives, whose sources know no frames.
    how = 'takes each as an image' if decoded else 'needs a folder or zip of the files'
    which = found.which(many, 'holds', 'hold')
    further = counted(count, 'further page or frame', 'further pages or frames')
    return [('frames', f'{which} {further}, not read; --frames=all {how}')]
