"""A zip archive of images: as the folder of the same files, and by StyleGAN's dataset.json."""

import io
import json
import os
import pathlib
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest

from osgan_jax import data
from osgan_jax.data import images, zipped

RNG = np.random.default_rng(0)
PICTURES = {
    'cats/b.png': RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8),
    'cats/a.png': RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8),
    'dogs/a.png': RNG.integers(0, 256, (8, 10, 3), dtype=np.uint8),
}


def write(path, files, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def pngs(**others):
    return {name: images.to_png(array) for name, array in PICTURES.items()} | others


@pytest.mark.parametrize('compression', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_is_read_as_its_folder(tmp_path, compression):
    path = write(tmp_path / 'a.zip', pngs(), compression)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / 'a')
    zipped, folder = (
        data.load('folder', data_dir=place, image_size=8) for place in (path, tmp_path / 'a')
    )
    assert zipped.class_names == folder.class_names == ('cats', 'dogs')
    for ours, theirs in zip(zipped, folder, strict=True):
        np.testing.assert_array_equal(ours['image'], theirs['image'])
        assert ours['label'] == theirs['label']
    np.testing.assert_array_equal(zipped[0]['image'], PICTURES['cats/a.png'])
    again = pickle.loads(pickle.dumps(zipped))
    np.testing.assert_array_equal(again[2]['image'], zipped[2]['image'])
    np.testing.assert_array_equal(zipped.source.labels(), [0, 0, 1])
    with pytest.raises(ValueError, match=r'3 of 3 images in .*a\.zip are smaller than 16x16'):
        data.load('folder', data_dir=path, image_size=16)


def test_stylegans_labels_count_and_its_blocks_do_not(tmp_path):
    rows = {'cats/b.png': 2, 'cats/a.png': 0, 'dogs/a.png': 2}
    listed = json.dumps({'labels': list(rows.items())})
    opened = data.load(
        'folder',
        data_dir=write(tmp_path / 'a.zip', pngs(**{'dataset.json': listed})),
        image_size=8,
    )
    # No image has the label 1.
    assert opened.class_names == ('0', '2')
    assert [row['label'] for row in opened] == [0, 1, 1]
    without = write(tmp_path / 'b.zip', pngs(**{'dataset.json': '{"labels": null}'}))
    assert data.load('folder', data_dir=without, image_size=8).num_classes == 0


@pytest.mark.parametrize(
    'change', [lambda n: n.replace('/', '\\'), lambda n: f'/{n}', lambda n: f'./{n}']
)
def test_folders_are_told_however_their_names_are_written(tmp_path, change):
    hidden = {'__MACOSX/cats/a.png': images.to_png(PICTURES['cats/a.png'])}
    files = pngs(**{'mice/readme.txt': ''} | hidden)
    path = write(tmp_path / 'a.zip', {change(name): content for name, content in files.items()})
    opened = data.load('folder', data_dir=path, image_size=8)
    assert opened.class_names == ('cats', 'dogs')
    np.testing.assert_array_equal(opened.labels(), [0, 0, 1])
    np.testing.assert_array_equal(opened[0]['image'], PICTURES['cats/a.png'])
    assert dict(opened.notes)['empty'].startswith('mice')
    # StyleGAN's list may be written in another way than the archive.
    for called in (change, str):
        rows = [[called(name), label] for name, label in zip(PICTURES, (1, 0, 1), strict=True)]
        files['dataset.json'] = json.dumps({'labels': rows})
        path = write(tmp_path / 'a.zip', {change(n): content for n, content in files.items()})
        opened = data.load('folder', data_dir=path, image_size=8)
        assert (opened.class_names, opened.labels().tolist()) == (('0', '1'), [0, 1, 1])


def test_damaged_images_and_others_are_named(tmp_path):
    hidden = {'__MACOSX/cats/a.png': b'', 'cats/.DS_Store': b''}
    files = pngs(**{'cats/c.png': b'no image', 'readme.txt': 'x'} | hidden)
    opened = data.load('folder', data_dir=write(tmp_path / 'a.zip', files), image_size=8)
    assert len(opened) == 3
    assert 'skipped 1 of 4: cats/c.png (not an image' in opened.report
    assert opened.report.endswith('passed over 1 file that is not an image: .txt 1')


@pytest.mark.parametrize(
    ('listed', 'message'),
    [
        ([['cats/a.png', 0]], r'no label for 2 images, such as cats/b\.png'),
        ([[name, -1] for name in PICTURES], 'expected whole numbers from 0 as labels, got -1'),
        ([[name, [0.5]] for name in PICTURES], r'expected whole numbers .* got \[0\.5\]'),
        ([[name, 10**9] for name in PICTURES], 'expected whole numbers'),
        (5, 'not iterable'),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, listed, message):
    files = pngs(**{'dataset.json': json.dumps({'labels': listed})})
    path = write(tmp_path / 'a.zip', files)
    with pytest.raises(ValueError, match=rf'a\.zip.*{message}'):
        data.load('folder', data_dir=path, image_size=8)


def test_archives_that_are_not_are_refused(tmp_path):
    (tmp_path / 'text.zip').write_text('no archive')
    with pytest.raises(ValueError, match=r'cannot read images from .*text\.zip'):
        data.load('folder', data_dir=tmp_path / 'text.zip', image_size=8)
    path = write(tmp_path / 'empty.zip', {'readme.txt': 'x'})
    with pytest.raises(ValueError, match=r'no readable image in .*empty\.zip: .*\.txt 1'):
        data.load('folder', data_dir=path, image_size=8)
    path = write(tmp_path / 'hidden.zip', {'.a/1.png': 'x', '__MACOSX/1.png': 'x'})
    message = r'no readable image in .*hidden\.zip: passed over 2 hidden files or folders$'
    with pytest.raises(ValueError, match=message):
        data.load('folder', data_dir=path, image_size=8)
    (tmp_path / 'a' / '.b').mkdir(parents=True)
    with pytest.raises(ValueError, match=r'in .*: passed over 1 hidden file or folder$'):
        data.load('folder', data_dir=tmp_path / 'a', image_size=8)
    whole = io.BytesIO()
    write(whole, pngs())
    (tmp_path / 'cut.zip').write_bytes(whole.getvalue()[:-40])
    with pytest.raises(ValueError, match='cannot read images from'):
        data.load('folder', data_dir=tmp_path / 'cut.zip', image_size=8)


def test_bombs_are_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(zipped, '_SMALL', 2**20)
    bomb = pngs(**{'bomb.png': bytes(2**24)})
    path = write(tmp_path / 'a.zip', bomb, zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    try:
        opened = data.load('folder', data_dir=path, image_size=8)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()
    assert len(opened) == 3
    assert 'bomb.png (it would unpack to 16,777,216 bytes, expected at most' in opened.report
    # Nor one that takes the place of an image later, or of the labels.
    reopened = pickle.loads(pickle.dumps(opened))
    write(path, pngs(**{'cats/a.png': bytes(2**24)}), zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    try:
        with pytest.raises(images.UnreadableImageError, match='is not readable now'):
            reopened[0]
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    write(path, pngs(**{'dataset.json': b' ' * 2**24}), zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=r'cannot read images from .*it would unpack to'):
        data.load('folder', data_dir=path, image_size=8)


def test_members_that_lie_are_refused(tmp_path):
    path = write(tmp_path / 'a.zip', pngs(), zipfile.ZIP_BZIP2)
    with pytest.raises(ValueError, match='compressed in a way that is not supported'):
        data.load('folder', data_dir=path, image_size=8)
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('a.png', b'')
        with pytest.warns(UserWarning, match='Duplicate'):
            archive.writestr('a.png', b'')
    with pytest.raises(ValueError, match='two members of one name'):
        data.load('folder', data_dir=path, image_size=8)


def test_names_that_are_paths_write_nothing(tmp_path):
    folder = tmp_path / 'within'
    folder.mkdir()
    png = images.to_png(PICTURES['cats/a.png'])
    path = write(folder / 'a.zip', {'x/../../../out.png': png, '/tmp/osgan-jax-out.png': png})
    before = sorted(tmp_path.rglob('*'))
    opened = data.load('folder', data_dir=path, image_size=8)
    for row in opened:
        np.testing.assert_array_equal(row['image'], PICTURES['cats/a.png'])
    assert sorted(tmp_path.rglob('*')) == before
    assert not pathlib.Path('/tmp/osgan-jax-out.png').exists()


def test_an_archive_that_changes_while_it_is_read_is_named(tmp_path):
    path = write(tmp_path / 'a.zip', pngs())
    opened = data.load('folder', data_dir=path, image_size=8)
    opened = pickle.loads(pickle.dumps(opened))  # opens the file anew
    write(path, {'other.png': b''})
    with pytest.raises(images.UnreadableImageError, match=r'cats/a\.png of .*a\.zip was readable'):
        opened[0]


def test_verdicts_are_kept_while_the_archive_is_the_same(tmp_path, monkeypatch):
    path = write(tmp_path / 'a.zip', pngs(**{'cats/c.png': b'no image'}))
    checked = []
    inspect = images.inspect
    monkeypatch.setattr(
        images, 'inspect', lambda file, *frames: checked.append(file) or inspect(file, *frames)
    )
    first = data.load('folder', data_dir=path, image_size=8)
    assert len(checked) == 4
    checked.clear()
    again = data.load('folder', data_dir=path, image_size=8)
    assert checked == []
    assert again.report == first.report
    assert again.source.fingerprint() == first.source.fingerprint()
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one['image'], other['image'])
    # The same directory, but another time of change: perhaps what was damaged has been mended.
    os.utime(path, ns=(1, 1))
    data.load('folder', data_dir=path, image_size=8)
    assert len(checked) == 4


def test_the_directory_is_read_once(tmp_path, monkeypatch):
    path = write(tmp_path / 'a.zip', pngs())
    opened = []

    class Counted(zipfile.ZipFile):
        def __init__(self, file, *rest, **options):
            # The cache's own files are of this kind, too.
            opened.extend([file] if file == str(path) else [])
            super().__init__(file, *rest, **options)

    monkeypatch.setattr(zipfile, 'ZipFile', Counted)
    dataset = data.load('folder', data_dir=path, image_size=8)
    dataset.source.fingerprint()
    assert pickle.loads(pickle.dumps(dataset))[0]['image'].shape == (8, 8, 3)
    assert opened == [str(path)]
