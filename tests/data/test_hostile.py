"""Folders of hostile files: each is read as it should be, or counted, named and left out."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from osgan_jax import data
from osgan_jax.data import collection, folder, images
from osgan_jax.io import messages
from tests.support import hostile

BAD = [file for file in hostile.FILES if file.colour is None]
GOOD = [file for file in hostile.FILES if file.colour is not None]


def load(root, **options):
    return data.load('folder', data_dir=root, **{'image_size': 8, 'upscale': True, **options})


def fill(root, files):
    root.mkdir(exist_ok=True)
    for file in files:
        file.make(root / file.name)


def test_there_are_enough_of_them():
    assert len(hostile.FILES) >= 40
    assert len({file.name for file in hostile.FILES}) == len(hostile.FILES)
    assert min(len(BAD), len(GOOD)) >= 20


@pytest.mark.parametrize('file', hostile.FILES, ids=lambda file: ascii(file.name[:30]))
def test_each_file(tmp_path, file):
    root = tmp_path / 'root'
    fill(root, [file])
    (root / 'z.png').write_bytes(hostile.plain(colour=hostile.BLUE))
    dataset = load(root)
    if file.refused is not None:
        assert len(dataset) == 1
        reason = re.fullmatch(
            re.escape(f'skipped 1 of 2: {messages.printable(file.name)} (') + r'(.+)\)',
            dataset.report,
        )
        assert file.refused in reason[1]
        assert dataset.report.isprintable()
        return
    assert dataset.report is None
    found = folder.scan(root)
    np.testing.assert_array_equal(found.sizes[found.paths.index(file.name)], file.size)
    tolerance = 0 if file.exact else 6
    whole = np.asarray(images.decode(root / file.name, channels=3), int)
    assert whole.shape == (*file.size[::-1], 3)
    assert np.abs(whole - file.colour).max() <= tolerance
    image = dataset[found.paths.index(file.name)]['image'].astype(int)
    assert image.shape == (8, 8, 3)
    assert np.abs(image - file.colour).max() <= tolerance


@pytest.fixture(scope='module')
def folder_of_all(tmp_path_factory):
    root = tmp_path_factory.mktemp('all') / 'root'
    fill(root, (*hostile.FILES, *hostile.FOLDERS))
    for name in ('notes.txt', 'photo.heic', 'hdr.exr', 'bad.\x1b[31mred'):
        (root / name).write_bytes(b'x')
    (root / '.hidden.png').write_bytes(b'x')
    return root


def test_the_whole_folder_is_counted_and_named(folder_of_all, monkeypatch):
    monkeypatch.setattr(collection, '_NAMED', 1000)
    dataset = load(folder_of_all)
    read = {file.name for file in GOOD} | {os.path.join('folder.png', 'inside.png')}
    assert folder.scan(folder_of_all).paths == tuple(sorted(read))
    assert dataset.num_classes == 0
    head, tail = dataset.report.rsplit('; ', 1)
    assert head.startswith(f'skipped {len(BAD)} of {len(BAD) + len(read)}: ')
    for file in BAD:
        assert f'{messages.printable(file.name)} (' in head
    for file in GOOD:
        assert f'{messages.printable(file.name)} (' not in head
    assert tail.startswith('passed over 4 files that are not images: ')
    assert '.\\x1b[31mred 1' in tail
    assert dataset.report.isprintable()
    # Remembered verdicts say the same.
    assert load(folder_of_all).report == dataset.report
    # Those that are read can all be read in training.
    assert all(row['image'].shape == (8, 8, 3) for row in dataset)


def test_the_report_of_the_whole_folder_is_short(folder_of_all):
    report = load(folder_of_all).report
    assert f'and {len(BAD) - 10} more' in report
    assert len(report) < 2000


def test_small_images_in_it_are_refused_by_name(folder_of_all):
    with pytest.raises(ValueError, match=r'^3 of \d+ images .* dot.png with 1x1 pixels') as error:
        load(folder_of_all, upscale=False)
    assert str(error.value).isprintable()


@pytest.mark.process
def test_what_cannot_be_opened_at_once_does_not_hang(tmp_path):
    program = (
        'import os, sys\n'
        'from osgan_jax import data\n'
        'root, name = sys.argv[1:]\n'
        "dataset = data.load('folder', data_dir=root, image_size=8)\n"
        'print(len(dataset), dataset.report)\n'
        "os.unlink(os.path.join(root, 'good.png'))\n"
        "os.mkfifo(os.path.join(root, 'good.png'))\n"
        'try:\n'
        '    dataset[0]\n'
        'except ValueError as error:\n'
        '    print(error)\n'
        'try:\n'
        "    data.load('npz', data_dir=os.path.join(root, name))\n"
        'except ValueError as error:\n'
        '    print(error)\n'
    )
    special = [file for file in BAD if file.refused == 'not a regular file']
    assert len(special) == 3
    fill(tmp_path / 'root', special)
    (tmp_path / 'root' / 'good.png').write_bytes(hostile.plain())
    done = subprocess.run(
        [sys.executable, '-c', program, str(tmp_path / 'root'), 'pipe.png'],
        capture_output=True,
        env={
            **os.environ,
            'PYTHONPATH': os.path.dirname(os.path.dirname(os.path.dirname(data.__file__))),
        },
        text=True,
        timeout=60,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith('1 skipped 3 of 4: ')
    assert 'good.png was readable' in lines[1]
    assert '(not a regular file): restore it' in lines[1]
    assert lines[2].endswith(
        'pipe.png is not a regular file: give the path of a folder or of a file of images'
    )


@contextlib.contextmanager
def nobody():
    """Root may read anything: it becomes another user for a moment, and anybody else stays."""
    if os.geteuid():
        yield
        return
    try:
        os.seteuid(65534)
    except OSError:
        pytest.skip('this root may not become another user')
    try:
        yield
    finally:
        os.seteuid(0)


def test_permission_denied_is_said_and_forgotten_when_it_is_granted(monkeypatch):
    # Not in pytest's folder, which only its owner may enter.
    top = tempfile.mkdtemp()
    monkeypatch.setenv('OSGAN_JAX_CACHE', os.path.join(top, 'cache'))
    root = os.path.join(top, 'root')
    try:
        os.makedirs(os.path.join(root, 'closed'))
        for name in ('good.png', 'denied.png', os.path.join('closed', 'inside.png')):
            with open(os.path.join(root, name), 'wb') as file:
                file.write(hostile.plain())
        os.chmod(os.path.join(root, 'denied.png'), 0)
        os.chmod(os.path.join(root, 'closed'), 0)
        os.makedirs(os.path.join(top, 'cache'))
        os.chmod(os.path.join(top, 'cache'), 0o777)
        os.chmod(top, 0o755)
        with nobody():
            dataset = load(root)
            assert dataset.report == (
                'skipped 2 of 3: closed (Permission denied), denied.png (Permission denied)'
            )
            assert load(root).report == dataset.report
        os.chmod(os.path.join(root, 'denied.png'), 0o644)
        os.chmod(os.path.join(root, 'closed'), 0o755)
        with nobody():
            dataset = load(root)
            assert (len(dataset), dataset.report) == (3, None)
    finally:
        os.chmod(os.path.join(root, 'closed'), 0o755)
        shutil.rmtree(top)


def test_too_little_memory_is_no_verdict(tmp_path, monkeypatch):
    (tmp_path / 'a.png').write_bytes(hostile.plain())
    (tmp_path / 'b.png').write_bytes(hostile.plain())
    load_pixels = images._load

    def greedy(image):
        if image.fp.name.endswith('b.png'):
            raise images._unreadable(MemoryError())
        load_pixels(image)

    with monkeypatch.context() as patched:
        patched.setattr(images, '_load', greedy)
        assert load(tmp_path).report == 'skipped 1 of 2: b.png (MemoryError)'
    assert load(tmp_path).report is None


def test_a_long_image_keeps_its_middle():
    # A third from the left it turns from red to blue, in the middle to green.
    array = np.zeros((2, 3001, 3), np.uint8)
    array[:, :1000], array[:, 1000:1500], array[:, 1500:] = (
        hostile.RED,
        hostile.BLUE,
        hostile.GREEN,
    )
    file = hostile.encode(hostile.Image.fromarray(array), 'PNG')
    image = images.load(file, image_size=64, channels=3)
    assert image.shape == (64, 64, 3)
    # The pixel in the middle, number 1500, is the first green one, and two are 64 wide.
    assert not image[..., 0].any()
    assert image[:, 0, 2].min() > 240
    assert np.all(image[:, -1] == hostile.GREEN)
    assert abs(int(np.argmax(image[0, :, 1] > image[0, :, 2])) - 16) <= 1


def test_a_long_image_is_not_made_larger_than_it_must(monkeypatch):
    made = []
    resize = hostile.Image.Image.resize

    def seen(self, size, *arguments):
        made.append(size)
        return resize(self, size, *arguments)

    monkeypatch.setattr(hostile.Image.Image, 'resize', seen)
    for size in ((20_000, 1), (1, 20_000)):
        image = images.load(hostile.plain(size=size), image_size=64, channels=3)
        assert np.all(image == hostile.RED)
    assert max(width * height for width, height in made) <= 17 * 64 * 64


@pytest.mark.parametrize('error', [ValueError('\x1b[31m\nred'), OSError('\x1b[31m red')])
def test_what_a_decoder_says_is_fit_to_print(error):
    assert str(images._unreadable(error)) == '\\x1b[31m red'


@pytest.mark.parametrize('how', ['gone', 'cut'])
@pytest.mark.parametrize('num_workers', [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_file_that_goes_bad_between_batches(tmp_path, num_workers, how):
    for number in range(12):
        (tmp_path / f'{number:02}.png').write_bytes(hostile.plain(colour=(20 * number,) * 3))
    dataset = load(tmp_path)
    with data.batches(dataset, 4, seed=0) as whole:
        expected = [next(whole)['image'] for _ in range(9)]
    path = tmp_path / '05.png'
    content = path.read_bytes()
    with data.batches(dataset, 4, seed=0, num_workers=num_workers) as iterator:
        found = [next(iterator)['image']]
        if how == 'gone':
            path.unlink()
        else:
            path.write_bytes(content[:50])
        # Some batches were read ahead, so that it is not known when it shows.
        with pytest.raises(images.UnreadableImageError) as error:
            found.extend(batch['image'] for batch in iterator)
        message = str(error.value)
        assert message.startswith(
            f'{path} was readable when the folder was opened but is not readable now'
        )
        assert message.endswith('restore it to resume, or start a new run without it')
        assert message.isprintable()
        path.write_bytes(content)
        while len(found) < 9:
            found.append(next(iterator)['image'])
    np.testing.assert_array_equal(found[:9], expected)
