"""Formats of image files, told by their first bytes and not by their names."""

import functools
import importlib.util

HEAD = 32
"""Bytes from which a format is told."""

_READ = ('BMP', 'GIF', 'JPEG', 'PNG', 'PPM', 'TIFF', 'WEBP')

ENDINGS = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.tif', '.tiff', '.ppm', '.pgm', '.gif')
"""Endings of files that are images, or damaged."""

# What other formats need.
_ADVICE = {
    'HEIC': 'which Pillow reads with a plug-in: pip install pillow-heif',
    'AVIF': 'which this Pillow was built without: pip install --upgrade pillow',
}
_BRANDS = {
    'HEIC': (b'heic', b'heix', b'hevc', b'hevx', b'heim', b'heis', b'mif1', b'msf1'),
    'AVIF': (b'avif', b'avis'),
}
_SIGNATURES = {
    b'\xff\xd8\xff': 'JPEG',
    b'\x89PNG\r\n\x1a\n': 'PNG',
    b'GIF87a': 'GIF',
    b'GIF89a': 'GIF',
    b'II*\0': 'TIFF',
    b'MM\0*': 'TIFF',
    b'\0\0\0\x0cjP  ': 'JPEG 2000',
    b'\xff\x4f\xff\x51': 'JPEG 2000',
    b'\xff\x0a': 'JPEG XL',
    b'\0\0\0\x0cJXL ': 'JPEG XL',
    b'8BPS': 'Photoshop',
    b'v/1\x01': 'OpenEXR',
}


@functools.cache
def readable() -> tuple[str, ...]:
    """Pillow's names of the formats that a dataset may reach.

    Pillow knows more, some of which start other programs. HEIC is among them where pillow-heif is
    installed.
    """
    from PIL import features

    found = _READ
    if features.check('avif'):
        found = (*found, 'AVIF')
    if importlib.util.find_spec('pillow_heif') is not None:
        import pillow_heif

        pillow_heif.register_heif_opener()
        found = (*found, 'HEIF')
    return found


def sniff(head: bytes) -> str | None:
    """The format of a file by its first bytes; None for one that is not known."""
    for signature, name in _SIGNATURES.items():
        if head.startswith(signature):
            return name
    if head[:4] == b'RIFF' and head[8:12] == b'WEBP':
        return 'WEBP'
    if head[4:8] == b'ftyp':
        brands = next((name for name, known in _BRANDS.items() if head[8:12] in known), None)
        # HEIC's general brand may be followed by AVIF's.
        return 'AVIF' if brands == 'HEIC' and b'avif' in head[12:] else brands
    # Its signature alone is two letters that texts may begin with.
    if head[:2] == b'BM' and len(head) >= 18 and head[6:10] == bytes(4) and head[15:18] == bytes(3):
        return 'BMP'
    return None


def is_image(ending: str, head: bytes) -> bool:
    """Whether a file whose name does not say so is an image that can be read.

    Camera raws are TIFF files of another kind, in which Pillow finds a thumbnail.
    """
    found = sniff(head)
    name = 'HEIF' if found == 'HEIC' else found
    return name in readable() and (name != 'TIFF' or not ending)


def foreign(head: bytes) -> str | None:
    """Why an image of a known format cannot be read; None for what can, or is not known."""
    found = sniff(head)
    if found is None or ('HEIF' if found == 'HEIC' else found) in readable():
        return None
    return f'{found}, {_ADVICE.get(found, "which is not read: convert it to PNG")}'
