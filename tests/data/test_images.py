import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from osgan_jax.data import fitting, images

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encode(image, form='PNG', **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def pixels(file, channels=3):
    return np.asarray(images.decode(file, channels=channels))


def noise(height, width, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize('form', ['PNG', 'BMP', 'TIFF', 'PPM'])
def test_lossless_formats_keep_every_pixel(form):
    array = noise(9, 7)
    np.testing.assert_array_equal(pixels(encode(Image.fromarray(array), form)), array)


def test_lossless_webp_keeps_every_pixel():
    array = noise(9, 7)
    file = encode(Image.fromarray(array), 'WEBP', lossless=True)
    np.testing.assert_array_equal(pixels(file), array)


def test_jpeg_is_close():
    file = encode(Image.new('RGB', (16, 16), (200, 100, 50)), 'JPEG', quality=95)
    assert np.abs(pixels(file).astype(int) - [200, 100, 50]).max() <= 3


def test_grey_is_repeated_and_colour_turned_to_luma():
    grey = noise(5, 4, 1)
    file = encode(Image.fromarray(grey))
    np.testing.assert_array_equal(pixels(file), np.repeat(grey[..., None], 3, axis=2))
    # ITU-R 601-2: 0.299 R + 0.587 G + 0.114 B.
    file = encode(Image.new('RGB', (2, 2), (100, 150, 200)))
    assert np.all(pixels(file, channels=1) == round(0.299 * 100 + 0.587 * 150 + 0.114 * 200))


def test_bilevel_and_palette():
    bilevel = Image.new('1', (8, 8), 1)
    assert np.all(pixels(encode(bilevel)) == 255)
    palette = Image.new('RGB', (8, 8), RED).convert('P', palette=Image.Palette.ADAPTIVE)
    assert np.all(pixels(encode(palette)) == RED)


@pytest.mark.parametrize('form', ['PNG', 'WEBP'])
def test_alpha_is_composited_on_white(form):
    image = Image.new('RGBA', (8, 8), (*RED, 255))
    image.paste((*BLUE, 0), (0, 0, 4, 8))
    image.paste((0, 0, 0, 128), (0, 0, 2, 8))
    options = {'lossless': True, 'exact': True} if form == 'WEBP' else {}
    result = pixels(encode(image, form, **options))
    assert np.all(result[:, 4:] == RED)
    assert np.all(result[:, 2:4] == WHITE)
    # Half transparent black on white: 255 * (1 - 128 / 255) = 127.
    assert np.all(np.abs(result[:, :2].astype(int) - 127) <= 1)


def test_transparency_of_palette_grey_and_colour_key():
    palette = Image.new('P', (4, 4), 0)
    palette.putpalette([*RED, *GREEN])
    palette.putpixel((0, 0), 1)
    result = pixels(encode(palette, transparency=0))
    assert tuple(result[0, 0]) == GREEN
    assert tuple(result[1, 1]) == WHITE
    both = Image.new('LA', (4, 4), (10, 0))
    both.putpixel((0, 0), (10, 255))
    assert pixels(encode(both), channels=1)[0, 0] == 10
    assert pixels(encode(both), channels=1)[1, 1] == 255
    key = Image.new('RGB', (4, 4), RED)
    assert np.all(pixels(encode(key, transparency=RED)) == 255)


def test_cmyk():
    file = encode(Image.new('CMYK', (16, 16), (0, 255, 255, 0)), 'JPEG', quality=95)
    assert np.abs(pixels(file).astype(int) - RED).max() <= 6
    file = encode(Image.new('CMYK', (16, 16), (0, 255, 255, 0)), 'TIFF')
    assert np.all(pixels(file) == RED)


def test_16_bit_grey_is_scaled_not_clipped():
    # 257 * v is v at 16 bits; the values between round to the nearest.
    wide = np.asarray([[0, 257 * 100, 257 * 100 + 128, 257 * 100 + 129, 65535]], np.uint16)
    expected = [[0, 100, 100, 101, 255]]
    for form in ('PNG', 'TIFF', 'PPM'):
        file = encode(Image.fromarray(wide), form)
        np.testing.assert_array_equal(pixels(file, channels=1), expected)
        assert images.inspect(file)[:2] == (5, 1)


def test_16_bit_colour_png():
    rows = b''.join(
        b'\0' + struct.pack('>6H', 65535, 257 * 100, 0, 0, 257 * 7, 65535) for _ in 'ab'
    )
    file = png(2, 2, 16, 2, rows)
    np.testing.assert_array_equal(pixels(file)[0], [[255, 100, 0], [0, 7, 255]])


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation(orientation):
    upright = noise(6, 10)
    stored = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.swapaxes(0, 1),
        6: lambda x: np.rot90(x),
        7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
        8: lambda x: np.rot90(x, -1),
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encode(Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    np.testing.assert_array_equal(pixels(file), upright)
    assert images.inspect(file)[:2] == (10, 6)


def test_a_header_alone_tells_the_sides_of_a_turned_tiff():
    turned = Image.new('RGB', (6, 4))
    exif = Image.Exif()
    exif[0x0112] = 6
    for form in ('TIFF', 'JPEG', 'PNG'):
        file = encode(turned, form, exif=exif)
        assert images.inspect(file)[:2] == images.glance(file)[:2] == (4, 6), form


def test_damaged_exif_does_not_lose_the_image():
    array = noise(6, 10)
    file = encode(Image.fromarray(array), exif=b'Exif\0\0II*\0\xff\xff\xff\xff garbage')
    np.testing.assert_array_equal(pixels(file), array)


def chunk(kind, content):
    return (
        struct.pack('>I', len(content))
        + kind
        + content
        + struct.pack('>I', zlib.crc32(kind + content))
    )


def png(width, height, depth, colour, rows):
    header = struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(rows))
        + chunk(b'IEND', b'')
    )


def damaged():
    whole = encode(Image.fromarray(noise(64, 64)))
    photo = encode(Image.fromarray(noise(64, 64)), 'JPEG')
    return {
        'empty': b'',
        'text': b'this is not an image',
        'only a signature': whole[:8],
        'truncated png': whole[: len(whole) // 2],
        'truncated jpeg': photo[: len(photo) // 2],
        'truncated webp': encode(Image.fromarray(noise(64, 64)), 'WEBP')[:200],
        'truncated bmp': encode(Image.fromarray(noise(64, 64)), 'BMP')[:300],
        'zeroed tiff': encode(Image.fromarray(noise(64, 64)), 'TIFF')[:8] + bytes(500),
        'corrupt data': whole[:300] + bytes(50) + whole[350:],
        'bomb': png(60_000, 60_000, 1, 0, b''),
        'over the limit': png(10_001, 10_001, 1, 0, b''),
        'float tiff': encode(Image.fromarray(np.ones((4, 4), np.float32)), 'TIFF'),
        '32-bit tiff': encode(Image.fromarray(np.full((4, 4), 70_000, np.int32)), 'TIFF'),
    }


@pytest.mark.parametrize('kind', damaged())
def test_damaged_images_are_one_kind_of_error(kind):
    file = damaged()[kind]
    for read in (images.inspect, lambda file: images.load(file, image_size=8, channels=3)):
        with pytest.raises(images.UnreadableImageError) as error:
            read(file)
        assert str(error.value)
        assert '\n' not in str(error.value)


@pytest.mark.parametrize(('width', 'height'), [(178, 218), (218, 178), (64, 91), (100, 100)])
def test_resize_and_crop_is_the_papers_recipe(width, height):
    # torchvision 0.20: Resize(64) keeps int(64 * long / short); CenterCrop(64) starts at
    # round((long - 64) / 2).
    image = Image.fromarray(noise(height, width))
    short, long = sorted((width, height))
    longer = int(64 * long / short)
    size = (64, longer) if width <= height else (longer, 64)
    resized = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    start = round((longer - 64) / 2)
    expected = resized[start : start + 64] if width <= height else resized[:, start : start + 64]
    np.testing.assert_array_equal(fitting.resize_and_crop(image, 64), expected)


def test_an_image_of_the_size_is_untouched():
    array = noise(32, 32)
    np.testing.assert_array_equal(
        images.load(encode(Image.fromarray(array)), image_size=32, channels=3), array
    )


def test_shapes_and_upscaling():
    file = encode(Image.fromarray(noise(8, 12, 1)))
    assert images.load(file, image_size=20, channels=1).shape == (20, 20, 1)
    assert images.load(file, image_size=4, channels=3).shape == (4, 4, 3)
    with pytest.raises(
        images.UnreadableImageError, match='8x12 pixels, smaller than the requested 20x20'
    ):
        images.load(file, image_size=20, channels=1, upscale=False)


def test_a_line_of_pixels():
    file = encode(Image.fromarray(noise(1, 500)))
    assert images.load(file, image_size=4, channels=3).shape == (4, 4, 3)
