"""Hostile files, made by hand: what each is called, how it is made, and what must come of it."""

import dataclasses
import io
import os
import pathlib
import socket
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
SIZE = (12, 8)  # width and height, where it does not matter


@dataclasses.dataclass(frozen=True)
class Hostile:
    """A file that somebody might put into a folder of images.

    Attributes:
      name: its path below the folder.
      make: makes it, given its whole path.
      colour: it is read, and is this colour all over; None where it is refused.
      refused: it is skipped, and these words are in the reason.
      size: width and height where it is read.
      exact: whether its pixels are stored without loss.
    """

    name: str
    make: Callable[[pathlib.Path], object]
    colour: tuple[int, int, int] | None = None
    refused: str | None = None
    size: tuple[int, int] = SIZE
    exact: bool = True


def encode(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def plain(form='PNG', colour=RED, size=SIZE, mode='RGB', **options):
    return encode(Image.new('RGB', size, colour).convert(mode), form, **options)


def noise(form, **options):
    array = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return encode(Image.fromarray(array), form, **options)


def chunk(kind, content):
    check = zlib.crc32(kind + content)
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', check)


def png(width, height, depth, colour, *chunks):
    header = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + header + b''.join(chunks) + chunk(b'IEND', b'')


def _written(content):
    return lambda path: path.write_bytes(content)


def _rotated(orientation, form):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return plain(form, exif=exif, **({'quality': 95} if form == 'JPEG' else {}))


def _frames(form, **options):
    rest = [Image.new('RGB', SIZE, colour) for colour in (GREEN, BLUE)]
    return plain(form, save_all=True, append_images=rest, **options)


def _rows_of_16_bits():
    row = b'\0' + struct.pack('>3H', 65535, 100, 100) * SIZE[0]
    return png(*SIZE, 16, 2, chunk(b'IDAT', zlib.compress(row * SIZE[1])))


def _bomb_in_text():
    text = chunk(b'zTXt', b'Comment\0\0' + zlib.compress(bytes(8_000_000), 9))
    rows = chunk(b'IDAT', zlib.compress((b'\0' + bytes(RED) * SIZE[0]) * SIZE[1]))
    return png(*SIZE, 8, 2, text, rows)


def _hole(path):
    with open(path, 'wb') as file:
        file.write(plain()[:33] + struct.pack('>I', 2**31 - 1) + b'tEXt')
        file.truncate(3 * 2**30)


def _socket(path):
    # Bound by its short name: the whole path may be longer than a socket's can be.
    before = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(before)


def _folder(path):
    path.mkdir()
    (path / 'inside.png').write_bytes(plain())


def _link_to_outside(path):
    target = path.parent.parent / f'outside of {path.parent.name}.png'
    target.write_bytes(plain())
    path.symlink_to(target)


_WHOLE, _PHOTO = noise('PNG'), noise('JPEG')
_NOT_AN_IMAGE = 'not an image, or damaged at its start'
_CMYK = {'mode': 'CMYK', 'quality': 95}

FILES = (
    # Cut short, or damaged.
    Hostile('empty.png', _written(b''), refused='empty file'),
    Hostile('one byte.png', _written(b'\x89'), refused=_NOT_AN_IMAGE),
    Hostile('signature.png', _written(_WHOLE[:8]), refused=_NOT_AN_IMAGE),
    Hostile('header.png', _written(_WHOLE[:33]), refused=''),
    Hostile('half.png', _written(_WHOLE[: len(_WHOLE) // 2]), refused='truncated'),
    Hostile('half.jpg', _written(_PHOTO[: len(_PHOTO) // 2]), refused='truncated'),
    Hostile('no end.jpg', _written(_PHOTO[:-200]), refused='truncated'),
    Hostile('half.webp', _written(noise('WEBP')[:200]), refused=''),
    Hostile('half.gif', _written(noise('GIF')[:1500]), refused='truncated'),
    Hostile('half.bmp', _written(noise('BMP')[:300]), refused='truncated'),
    Hostile('half.tif', _written(noise('TIFF')[:300]), refused=''),
    Hostile('half.ppm', _written(noise('PPM')[:300]), refused=''),
    Hostile('flipped.png', _written(_WHOLE[:300] + bytes(50) + _WHOLE[350:]), refused=''),
    Hostile('zeros.jpg', _written(bytes(5000)), refused=_NOT_AN_IMAGE),
    # Something else than the name says.
    Hostile('text.jpg', _written(b'hello'), refused=_NOT_AN_IMAGE),
    Hostile('page.png', _written(b'<!DOCTYPE html><title>404</title>'), refused=_NOT_AN_IMAGE),
    Hostile('script.png', _written(b'%!PS-Adobe-3.0 EPSF-3.0\n'), refused=_NOT_AN_IMAGE),
    Hostile('radiance.png', _written(b'#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n'), refused=''),
    Hostile('archive.png', _written(b'PK\3\4' + bytes(100)), refused=_NOT_AN_IMAGE),
    Hostile('jpeg.png', _written(plain('JPEG', quality=95)), RED, exact=False),
    Hostile('png.jpg', _written(plain()), RED),
    Hostile('UPPER.PNG', _written(plain()), RED),
    # More than it looks.
    Hostile('bomb.png', _written(png(60_000, 60_000, 1, 0)), refused='decompression bomb'),
    Hostile('limit.png', _written(png(10_001, 10_000, 1, 0)), refused='pixels'),
    Hostile('bomb in text.png', _written(_bomb_in_text()), refused='Decompressed data too large'),
    Hostile('hole.png', _hole, refused='3,221,225,472 bytes, more than the 1,073,741,824'),
    Hostile('escape.ppm', _written(b'P6 4\x1b]0;pwned\x07aaaa 3 255\n' + bytes(40)), refused='x1b'),
    # Odd sizes.
    Hostile('dot.png', _written(plain(size=(1, 1))), RED, size=(1, 1)),
    Hostile('line.png', _written(plain(size=(20_000, 1))), RED, size=(20_000, 1)),
    Hostile('pole.png', _written(plain(size=(1, 20_000))), RED, size=(1, 20_000)),
    Hostile('nothing.png', _written(png(0, 5, 8, 2)), refused=''),
    # Other pixels.
    Hostile('cmyk.jpg', _written(plain('JPEG', **_CMYK)), RED, exact=False),
    Hostile('cmyk.tif', _written(plain('TIFF', mode='CMYK')), RED),
    Hostile('16 bits.png', _written(_rows_of_16_bits()), RED),
    Hostile(
        '16 bits grey.png',
        _written(encode(Image.fromarray(np.full((8, 12), 257 * 90, np.uint16)), 'PNG')),
        (90, 90, 90),
    ),
    Hostile(
        'float.tif',
        _written(encode(Image.fromarray(np.ones((8, 12), np.float32)), 'TIFF')),
        refused='pixels of type F are not supported',
    ),
    Hostile('palette.png', _written(plain(mode='P')), RED),
    Hostile('bilevel.png', _written(plain(colour=(255,) * 3, mode='1')), (255,) * 3),
    Hostile('invisible.png', _written(encode(Image.new('RGBA', SIZE), 'PNG')), (255,) * 3),
    Hostile('animated.gif', _written(_frames('GIF')), RED),
    Hostile('animated.png', _written(_frames('PNG')), RED),
    Hostile('animated.webp', _written(_frames('WEBP', lossless=True)), RED),
    Hostile('pages.tif', _written(_frames('TIFF')), RED),
    # Told to be turned.
    Hostile('turned.png', _written(_rotated(6, 'PNG')), RED, size=SIZE[::-1]),
    Hostile('turned.jpg', _written(_rotated(8, 'JPEG')), RED, size=SIZE[::-1], exact=False),
    Hostile('no such turn.png', _written(_rotated(99, 'PNG')), RED),
    Hostile('damaged exif.png', _written(plain(exif=b'Exif\0\0II*\0\xff\xff\xff\xff')), RED),
    # Names.
    Hostile('new\nline.png', _written(plain()), RED),
    Hostile('esc \x1b[31m \x07.png', _written(b'x'), refused=_NOT_AN_IMAGE),
    Hostile('turn \u202egnp.png', _written(b'x'), refused=_NOT_AN_IMAGE),
    Hostile(os.fsdecode(b'bytes \xff\xfe.png'), _written(b'x'), refused=_NOT_AN_IMAGE),
    Hostile('ü漢字.png', _written(plain()), RED),
    Hostile('-rf *; $(true) "\'.png', _written(plain()), RED),
    Hostile('n' * 251 + '.png', _written(plain()), RED),
    # No files, or not here.
    Hostile('pipe.png', os.mkfifo, refused='not a regular file'),
    Hostile('socket.png', _socket, refused='not a regular file'),
    Hostile('device.png', lambda path: path.symlink_to('/dev/zero'), refused='not a regular file'),
    Hostile('gone.png', lambda path: path.symlink_to('nowhere.png'), refused='No such file'),
    Hostile('loop.png', lambda path: path.symlink_to('loop.png'), refused='symbolic links'),
    Hostile('outside.png', _link_to_outside, RED),
)

# Names of images that are folders: read as folders, each once.
FOLDERS = (
    Hostile('folder.png', _folder, RED),
    Hostile('up', lambda path: path.symlink_to(path.parent), RED),
)
