"""What becomes of images is decided of all of them, and said; advice works as it is written."""

import io
import re
import shutil
import struct
import sys
import types

import numpy as np
import pytest
from PIL import Image

from osgan_jax import data
from osgan_jax.data import formats, headers, images
from osgan_jax.gan import trainer
from osgan_jax.gan.config import TrainConfig
from tests.data.test_images import png
from tests.support import launching

RNG = np.random.default_rng(0)


def noise(height, width, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encode(image, form='PNG', **options):
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        buffer, form, **options
    )
    return buffer.getvalue()


def folder(root, **files):
    root.mkdir(exist_ok=True)
    for name, content in files.items():
        path = root / name.replace('_', '.')
        path.write_bytes(content)
    return root


def load(root, **options):
    return data.load('folder', data_dir=root, **{'image_size': 8, **options})


def notes(dataset):
    return dict(dataset.remarks())


def npz(path, files, **more):
    offset = np.cumsum([0, *map(len, files)])
    content = np.frombuffer(b''.join(files), np.uint8)
    np.savez(path, jpeg=content, offset=offset, **more)
    return path


GREY, COLOUR = encode(noise(8, 8, 1)), encode(noise(8, 8))


# Channels.


def test_grey_folders_make_one_channel(tmp_path):
    stored_as_rgb = encode(np.repeat(noise(8, 8, 1)[..., None], 3, axis=2))
    palette = encode(Image.fromarray(noise(8, 8, 1)).convert('P'))
    root = folder(tmp_path / 'a', a_png=GREY, b_png=stored_as_rgb, c_png=palette)
    dataset = load(root)
    assert (dataset.channels, dataset[0]['image'].shape) == (1, (8, 8, 1))
    assert notes(dataset)['channels'] == (
        '1: no image shows a colour; --channels=3 repeats them in three'
    )
    assert load(root, channels=3).channels == 3
    assert notes(load(root, channels=3))['channels'].startswith('3: all images are grey')


def test_colour_among_grey_is_a_decision_that_is_said(tmp_path):
    root = folder(tmp_path / 'a', a_png=GREY, b_png=GREY, c_png=COLOUR)
    dataset = load(root)
    assert dataset.channels == 3
    assert notes(dataset)['channels'] == (
        '3: 2 of 3 images (a.png) show no colour, and are repeated in three'
    )
    made = load(root, channels=1)
    assert notes(made)['channels'] == (
        '1: 1 of 3 images (c.png) holds colours that become grey; --channels=3 keeps them'
    )
    path = npz(tmp_path / 'a.npz', [GREY, COLOUR, COLOUR])
    packed = data.load('npz', data_dir=path)
    assert packed.channels == 3
    assert 'channels' in notes(packed)
    np.testing.assert_array_equal(packed[1]['image'], noise(8, 8))
    assert data.load('npz', data_dir=npz(tmp_path / 'b.npz', [GREY, GREY])).channels == 1


# Sizes and shapes.


def test_the_size_of_a_file_of_images_is_that_of_most(tmp_path):
    files = [encode(noise(size, size)) for size in (4, 16, 16, 32)]
    dataset = data.load('npz', data_dir=npz(tmp_path / 'a.npz', files))
    assert dataset.image_size == 16
    assert notes(dataset)['enlarged'] == ('1 of 4 images (image 0), the smallest from 4x4 to 16x16')
    mnist = npz(tmp_path / 'b.npz', [encode(noise(28, 28, 1))] * 3)
    dataset = data.load('npz', data_dir=mnist, sizes=(8, 16, 32, 64))
    assert dataset.image_size == 32
    assert notes(dataset)['size'] == '32x32, which the network has; most images are 28'
    assert data.load('npz', data_dir=mnist).image_size == 28


def test_crop_pad_and_stretch(tmp_path):
    wide = np.zeros((8, 32, 3), np.uint8)
    wide[:, 12:20] = (0, 200, 0)
    wide[:, :4] = (200, 0, 0)
    root = folder(tmp_path / 'a', a_png=encode(noise(8, 8)), wide_png=encode(wide))
    crop, pad, stretch = (load(root, fit=how) for how in ('crop', 'pad', 'stretch'))
    np.testing.assert_array_equal(crop[1]['image'], np.full((8, 8, 3), (0, 200, 0)))
    assert notes(crop)['fit'] == (
        'crop: of 1 of 2 images (wide.png) only the centre is kept; 38% of all pixels go, at most '
        '75% (wide.png, 8x32); --fit=pad or --fit=stretch keeps all'
    )
    # 32x8 becomes 8x2 in the middle of white.
    assert np.all(pad[1]['image'][[0, 1, 2, 5, 6, 7]] == 255)
    assert pad[1]['image'][3, 0, 0] > 150
    black = load(root, fit='pad', background='black')
    assert np.all(black[1]['image'][:3] == 0)
    assert stretch[1]['image'][:, 0, 0].min() > 150
    assert (
        notes(stretch)['fit'] == 'stretch: 1 of 2 images (wide.png) is distorted, at most 4 times'
    )
    for dataset in (crop, pad, stretch):
        np.testing.assert_array_equal(dataset[0]['image'], noise(8, 8))
    np.savez(tmp_path / 'a.npz', images=wide[None])
    tall = data.load('npz', data_dir=tmp_path / 'a.npz', fit='pad')
    assert np.all(tall[0]['image'][0] == 255)
    assert 'fit' in notes(tall)
    for options, message in [
        ({'fit': 'squash'}, "fit='squash': expected one of crop, pad, stretch"),
        ({'background': 'mauve'}, 'expected white, black, grey or a colour as #RRGGBB'),
        ({'background': '#12345'}, 'expected white'),
        ({'white_level': 0}, 'white_level=0: expected 1 to 65535'),
        ({'frames': 'last'}, 'expected one of first, all'),
    ]:
        with pytest.raises(ValueError, match=message):
            load(root, **options)


# Pixels.


def test_what_is_behind_transparent_pixels_is_said(tmp_path):
    sprite = Image.new('RGBA', (8, 8), (9, 9, 200, 0))
    opaque = Image.new('RGBA', (8, 8), (9, 9, 200, 255))
    key = encode(Image.new('RGB', (8, 8), (1, 2, 3)), transparency=(1, 2, 3))
    root = folder(tmp_path / 'a', a_png=encode(sprite), b_png=encode(opaque), c_png=key)
    dataset = load(root)
    assert np.all(dataset[0]['image'] == 255)
    assert notes(dataset)['background'] == (
        '2 of 3 images (a.png) are transparent: white is put behind them; --background sets '
        'another colour'
    )
    assert np.all(load(root, background='#102030')[0]['image'] == (16, 32, 48))
    assert np.all(load(root, background='black')[2]['image'] == 0)
    assert 'background' not in notes(load(folder(tmp_path / 'b', a_png=encode(opaque))))


def test_the_white_of_16_bits(tmp_path):
    wide = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    root = folder(tmp_path / 'a', a_png=encode(wide), b_tif=encode(wide, 'TIFF'))
    dark = load(root)
    assert dark[0]['image'].max() == 16
    said = notes(dark)['white level']
    assert said == (
        '2 of 2 images (a.png) have 16 bits, up to 4,095, with 65,535 as white, and will be dark; '
        '--white_level=4095 makes them bright'
    )
    level = int(re.search(r'--white_level=(\d+)', said)[1])
    bright = load(root, white_level=level)
    np.testing.assert_array_equal(bright[1]['image'].ravel(), np.round(wide.ravel() / 4095 * 255))
    assert '--' not in notes(bright)['white level']
    assert (
        'greater values are cut off; --white_level=65535'
        in (notes(load(root, white_level=1000))['white level'])
    )
    assert load(root, white_level=1000)[0]['image'].max() == 255


@pytest.mark.parametrize(('kind', 'rest'), [(2, (1, 2)), (4, (0xFFFF,)), (6, (1, 2, 0xFFFF))])
def test_colour_of_12_bits_is_said_to_be_dark(tmp_path, kind, rest):
    def stored(value):
        pixel = struct.pack(f'>{1 + len(rest)}H', value, *rest)
        return png(2, 2, 16, kind, (b'\0' + pixel * 2) * 2)

    root = folder(tmp_path / 'a', a_png=stored(4095), b_png=COLOUR)
    said = notes(load(root, upscale=True))
    assert said['dark'] == (
        '1 of 2 images (a.png) has 16 bits a channel, up to 4,095, and will be dark: scale them '
        'to 65,535, as --white_level is for grey alone'
    )
    assert 'white level' not in said
    grey = encode(Image.fromarray(np.full((8, 8), 999, np.uint16)))
    both = notes(load(folder(root, c_png=grey), upscale=True))
    assert both['dark'] == said['dark'].replace('of 2', 'of 3')
    assert both['white level'].startswith('1 of 3 images (c.png) has 16 bits, up to 999, ')
    assert 'dark' not in notes(load(folder(root, a_png=stored(65535)), upscale=True))


@pytest.mark.parametrize('form', ['GIF', 'TIFF', 'WEBP', 'PNG'])
def test_frames_are_said_or_taken(tmp_path, form):
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    first, *others = (Image.new('RGB', (8, 8), colour) for colour in colours)
    options = {'lossless': True} if form == 'WEBP' else {}
    many = encode(first, form, save_all=True, append_images=others, **options)
    root = folder(tmp_path / 'a', **{f'b_{form.lower()}': many}, a_png=COLOUR)
    dataset = load(root)
    assert len(dataset) == 2
    assert notes(dataset)['frames'] == (
        f'1 of 2 images (b.{form.lower()}) holds 2 further pages or frames, not read; --frames=all '
        'takes each as an image'
    )
    every = load(root, frames='all')
    assert len(every) == 4
    assert [np.argmax(every[index]['image'][0, 0]) for index in (1, 2, 3)] == [0, 1, 2]
    assert 'all are taken' in notes(every)['frames']


def pages(*sides, mode='RGB'):
    first, *others = (Image.new(mode, (side, side), 'red') for side in sides)
    return encode(first, 'TIFF', save_all=True, append_images=others)


def test_all_frames_are_looked_at_where_all_are_taken(tmp_path):
    whole = pages(8, 8, 8)
    third = whole.rindex(bytes(Image.new('RGB', (8, 8), 'red').tobytes()))
    grey, colour = Image.new('L', (8, 8)), Image.new('RGB', (6, 6), 'red')
    root = folder(
        tmp_path / 'a',
        a_tif=whole[: third + 20] + whole[third + 192 :],
        b_tif=encode(grey, 'TIFF', save_all=True, append_images=[colour]),
    )
    assert len(data.load('folder', data_dir=root, image_size=8)) == 2
    every = data.load('folder', data_dir=root, own_size=True, frames='all')
    assert (len(every), every.channels, every.image_size) == (2, 3, 6)
    assert 'skipped 1 of 2: a.tif (frame 3 of 3: ' in every.report
    assert len(data.load('folder', data_dir=root, image_size=8)) == 2
    with pytest.raises(ValueError, match=r'2 of 2 images in .* are smaller than 8x8'):
        data.load('folder', data_dir=root, image_size=8, frames='all')


def test_frames_of_a_later_page_may_not_be_larger_than_any(tmp_path, monkeypatch):
    monkeypatch.setattr(images, 'MAX_PIXELS', 100)
    with pytest.raises(images.UnreadableImageError, match='frame 2 of 2: 20x20 pixels, more than'):
        images.inspect(pages(8, 20), 'all')
    with pytest.raises(images.UnreadableImageError, match='20x20 pixels, more than'):
        images.decode(pages(8, 20), channels=3, frame=1)


def test_archives_say_what_is_white(tmp_path):
    grey = encode(Image.fromarray(np.full((8, 8), 4095, np.uint16)))
    said = notes(data.load('npz', data_dir=npz(tmp_path / 'a.npz', [grey, GREY])))
    assert said['white level'].startswith('1 of 2 images (image 0) has 16 bits, up to 4,095, with')


def test_archives_say_that_only_first_frames_are_read(tmp_path):
    path = npz(tmp_path / 'a.npz', [pages(8, 8)])
    for frames in ('first', 'all'):
        dataset = data.load('npz', data_dir=path, frames=frames)
        assert notes(dataset)['frames'].endswith(
            'holds 1 further page or frame, not read; --frames=all needs a folder or zip of the '
            'files'
        )


def test_conversions_are_said(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    root = folder(
        tmp_path / 'a',
        a_jpg=encode(Image.new('CMYK', (8, 8), (0, 255, 255, 0)), 'JPEG'),
        b_png=encode(Image.new('1', (8, 8))),
        c_jpg=encode(noise(8, 8), 'JPEG', exif=exif),
    )
    said = notes(load(root))
    assert said['converted'] == '1 CMYK, 1 of two levels, to RGB'
    assert said['turned'] == '1 image by EXIF'


# Formats.


def test_content_decides_and_not_the_ending(tmp_path):
    root = folder(
        tmp_path / 'a',
        a_jfif=encode(noise(8, 8), 'JPEG'),
        b=encode(noise(8, 8), 'TIFF'),
        c_img=encode(noise(8, 8), 'WEBP'),
        d_png_1=encode(noise(8, 8), 'BMP'),
        notes_txt=b'BMW and others',
        raw_nef=encode(noise(8, 8), 'TIFF'),
    )
    dataset = load(root)
    assert len(dataset) == 4
    assert '.txt 1' in dataset.report
    assert '.nef 1' in dataset.report


def test_formats_that_need_more_are_named(tmp_path, monkeypatch):
    heic = b'\0\0\0\x18ftypheic' + bytes(40)
    root = folder(
        tmp_path / 'a',
        a_png=COLOUR,
        b_HEIC=heic,
        c_jpg=heic,
        d_jp2=b'\0\0\0\x0cjP  \r\n\x87\n' + bytes(20),
        e_psd=b'8BPS' + bytes(40),
    )
    report = load(root).report
    assert 'b.HEIC (HEIC, which Pillow reads with a plug-in: pip install pillow-heif)' in report
    assert 'c.jpg (HEIC, which' in report
    assert 'd.jp2 (JPEG 2000, which is not read: convert it to PNG)' in report
    assert 'e.psd (Photoshop, which' in report
    # With the plug-in they are read.
    plug = types.ModuleType('pillow_heif')
    plug.__spec__ = types.SimpleNamespace(name='pillow_heif')

    def opened(stream, name):
        stream.seek(0)
        return Image.open(io.BytesIO(COLOUR))

    plug.register_heif_opener = lambda: Image.register_open(
        'HEIF', opened, lambda head: head[4:12] == b'ftypheic'
    )
    monkeypatch.setitem(sys.modules, 'pillow_heif', plug)
    formats.readable.cache_clear()
    try:
        assert len(load(root)) == 3
    finally:
        formats.readable.cache_clear()
        Image.OPEN.pop('HEIF', None)
        Image.ID.remove('HEIF')


def test_headers_tell_what_pillow_does():
    exif = Image.Exif()
    exif[0x0112] = 6
    files = [
        encode(image, form)
        for image in (
            noise(5, 7),
            noise(5, 7, 1),
            Image.new('RGBA', (3, 4)),
            Image.new('P', (3, 4)),
        )
        for form in ('PNG', 'JPEG')
        if form == 'PNG' or not isinstance(image, Image.Image)
    ]
    files += [encode(noise(5, 7), 'JPEG', progressive=True, comment=b'x' * 300, quality=30)]
    files += [encode(noise(5, 7), 'JPEG', exif=exif), encode(noise(5, 7), transparency=(1, 2, 3))]
    told = 0
    for file in files:
        with images._open(file) as image:
            expected = images._measure(image, image.size, decoded=False)
        assert images.glance(file) == expected
        told += headers.read(file) is not None
    assert told == 6
    for file in (
        b'',
        b'\xff\xd8\xff',
        b'\xff\xd8\xff\xe0\0\0',
        b'\x89PNG\r\n\x1a\n',
        files[1][:30],
    ):
        assert headers.read(file) is None


# Advice.


@pytest.mark.parametrize('kind', ['folder', 'zip', 'npz'])
def test_advice_on_small_images_works(tmp_path, kind):
    """MNIST as PNG files: 28 pixels, which no network has."""
    names = {f'{index}_png': encode(noise(28, 28, 1, index)) for index in range(4)}
    root = folder(tmp_path / 'a', **names)
    place, options = root, []
    if kind == 'zip':
        place = shutil.make_archive(str(tmp_path / 'a'), 'zip', root)
    if kind == 'npz':
        place, options = npz(tmp_path / 'a.npz', list(names.values())), ['--noupscale']
        options += ['--image_size=64']
    flags = [
        *('--width=2', '--batch_size=2', '--num_steps=1', '--num_samples=2', '--num_devices=1'),
        f'--dataset={"npz" if kind == "npz" else "folder"}',
        f'--data_dir={place}',
        '--nocollapse_alarm',
    ]
    done = launching.call('train', *flags, *options, f'--workdir={tmp_path / "r"}')
    assert done.code == 1
    assert '28x28 pixels: --upscale enlarges them to 64x64, --image_size=16 makes' in done.err
    advice = re.findall(r'--[a-z_]+(?:=\d+)?', done.err)
    assert advice == ['--upscale', '--image_size=16']
    for flag in advice:
        name, _, value = flag[2:].partition('=')
        config = TrainConfig(
            dataset=kind if kind == 'npz' else 'folder',
            data_dir=str(place),
            **{name: int(value) if value else True},
        )
        opened = trainer.open_dataset(config)
        assert opened.channels == 1
        assert opened.image_size in (16, 32, 64)
