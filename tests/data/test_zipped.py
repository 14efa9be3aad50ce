"""A zip archive of images: as the folder of the same files, and by StyleGAN's dataset.json."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest

from osgan_jax import data
from osgan_jax.data import images

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
    assert opened.class_names == ('0', '1', '2')
    assert [row['label'] for row in opened] == [0, 2, 2]
    without = write(tmp_path / 'b.zip', pngs(**{'dataset.json': '{"labels": null}'}))
    assert data.load('folder', data_dir=without, image_size=8).num_classes == 0


def test_damaged_images_and_others_are_named(tmp_path):
    files = pngs(**{'cats/c.png': b'no image', 'readme.txt': 'x', '__MACOSX/cats/a.png': b''})
    opened = data.load('folder', data_dir=write(tmp_path / 'a.zip', files), image_size=8)
    assert len(opened) == 3
    assert 'skipped 1 of 4: cats/c.png (not an image' in opened.report
    assert '.txt 1' in opened.report


@pytest.mark.parametrize(
    ('listed', 'message'),
    [
        ([['cats/a.png', 0]], r'no label for 2 images, cats/b\.png for one'),
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
    whole = io.BytesIO()
    write(whole, pngs())
    (tmp_path / 'cut.zip').write_bytes(whole.getvalue()[:-40])
    with pytest.raises(ValueError, match='cannot read images from'):
        data.load('folder', data_dir=tmp_path / 'cut.zip', image_size=8)


def test_an_archive_that_changes_while_it_is_read_is_named(tmp_path):
    path = write(tmp_path / 'a.zip', pngs())
    opened = data.load('folder', data_dir=path, image_size=8)
    opened = pickle.loads(pickle.dumps(opened))  # opens the file anew
    write(path, {'other.png': b''})
    with pytest.raises(images.UnreadableImageError, match=r'cats/a\.png of .*a\.zip was readable'):
        opened[0]
