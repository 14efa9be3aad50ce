import io
import pickle

import numpy as np
import pytest
from PIL import Image

from osgan_jax import data
from osgan_jax.data import archive, convert, images
from osgan_jax.data.reading import Reading


def noise(count, height, width, channels=3):
    shape = (count, height, width, channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_arrays(tmp_path):
    stored = noise(5, 16, 16)
    np.savez(tmp_path / 'a.npz', images=stored, labels=[0, 2, 1, 0, 2], class_names=['a', 'b', 'c'])
    dataset = data.load('npz', data_dir=tmp_path / 'a.npz')
    assert (dataset.image_size, dataset.channels, dataset.num_classes) == (16, 3, 3)
    assert dataset.class_names == ('a', 'b', 'c')
    np.testing.assert_array_equal([row['image'] for row in dataset], stored)
    assert [int(row['label']) for row in dataset] == [0, 2, 1, 0, 2]


def test_arrays_without_labels_or_channels_are_resized(tmp_path):
    np.savez(tmp_path / 'a.npz', images=noise(3, 16, 20)[..., 0])
    dataset = data.load('npz', data_dir=tmp_path / 'a.npz', image_size=8, channels=3)
    assert (dataset.num_classes, dataset[0]['image'].shape) == (0, (8, 8, 3))
    assert data.load('npz', data_dir=tmp_path / 'a.npz').channels == 1
    with pytest.raises(ValueError, match='than 32x32, the smallest is image 0 with 16x20 pixels'):
        data.load('npz', data_dir=tmp_path / 'a.npz', image_size=32, upscale=False)


def test_files_end_to_end(tmp_path):
    stored = noise(4, 24, 24)
    files = [images.to_png(image) for image in stored]
    offset = np.cumsum([0, *map(len, files)])
    content = np.frombuffer(b''.join(files), np.uint8)
    path = tmp_path / 'a.npz'
    np.savez(path, jpeg=content, offset=offset, label=np.uint8([1, 0, 1, 1]))
    dataset = data.load('npz', data_dir=path)
    assert (dataset.image_size, dataset.channels, dataset.class_names) == (24, 3, ('0', '1'))
    np.testing.assert_array_equal([row['image'] for row in dataset], stored)
    grey = data.load('npz', data_dir=path, image_size=8, channels=1)
    assert grey[3]['image'].shape == (8, 8, 1)
    assert pickle.loads(pickle.dumps(dataset))[2]['label'] == 1
    assert len(data.load('npz', data_dir=path, split='all')) == 4
    with pytest.raises(ValueError, match="has one split, 'train', got 'test': give --split=train"):
        data.load('npz', data_dir=path, split='test')


def test_damaged_files_are_left_out_and_named(tmp_path, capsys):
    stored = noise(5, 24, 24)
    files = [images.to_png(image) for image in stored]
    offset = 3 + np.cumsum([0, *map(len, files)])
    content = np.frombuffer(b'abc' + b''.join(files) + b'd', np.uint8).copy()
    content[offset[0] : offset[0] + 20] = 0
    content[offset[3] + 60 :][:20] = 0  # behind the header
    path = tmp_path / 'a.npz'
    arrays = {'jpeg': content, 'offset': offset, 'class_names': ['a', 'b', 'c', 'd']}
    np.savez(path, **arrays, label=[3, 0, 2, 1, 0])
    for _ in range(2):
        dataset = data.load('npz', data_dir=path)
        assert 'skipped 2 of 5: image 0 (not an image, or damaged at its s' in dataset.report
        assert ', image 3 (' in dataset.report
        assert (dataset.class_names, dataset.labels().tolist()) == (('a', 'c'), [0, 1, 0])
        np.testing.assert_array_equal([row['image'] for row in dataset], stored[[1, 2, 4]])
    assert convert.main([f'--data_dir={path}', f'--to={tmp_path / "b.npz"}']) == 0
    assert 'files: skipped 2 of 5: image 0' in capsys.readouterr().out
    assert len(data.load('npz', data_dir=tmp_path / 'b.npz')) == 3
    # A file of many gigabytes is not copied for one damaged image.
    assert archive.of_files('a', content, offset, None, Reading()).content is content
    # As many labels as there are readable images are not those of these.
    np.savez(path, **arrays, label=[2, 0, 1])
    with pytest.raises(ValueError, match='labels must be 5 integers'):
        data.load('npz', data_dir=path)
    with pytest.raises(ValueError, match='smaller than 32x32, the smallest is image 1 with 24x24'):
        data.load('npz', data_dir=tmp_path / 'a.npz', labels='none', image_size=32, upscale=False)


@pytest.mark.parametrize(
    ('arrays', 'message'),
    [
        ({'q': np.zeros(3)}, r'holds the arrays q; expected images, or jpeg and offset'),
        ({}, r'holds the arrays \(none\)'),
        ({'images': noise(2, 8, 8) * np.float32(2)}, r'images is float32 from 0 to 510, a range'),
        ({'images': noise(2, 8, 8, 4)}, r'got uint8 \[2, 8, 8, 4\]'),
        ({'images': noise(0, 8, 8)}, 'images is empty'),
        ({'images': noise(2, 8, 8), 'labels': [0]}, 'labels must be 2 integers'),
        ({'images': noise(2, 8, 8), 'labels': [0.5, 1]}, 'labels must be 2 integers'),
        ({'images': noise(2, 8, 8), 'labels': [-1, 1]}, 'labels run from -1 to 1'),
        (
            {'images': noise(2, 8, 8), 'labels': [0, 3], 'class_names': ['a']},
            'from 0 to 3, but there are 1 class_names',
        ),
        ({'jpeg': np.zeros(9, np.uint8), 'offset': [0]}, 'at least two integers'),
        ({'jpeg': np.zeros(9, np.uint8), 'offset': [0, 10]}, 'offset does not lie in jpeg'),
        ({'jpeg': np.zeros(9, np.uint8), 'offset': [5, 3, 9]}, 'or does not grow'),
        ({'jpeg': np.zeros(9), 'offset': [0, 9]}, 'jpeg must be uint8'),
        (
            {'jpeg': np.zeros(9, np.uint8), 'offset': [0, 9]},
            r'no readable image in .*: image 0 \(not an image',
        ),
        ({'images': np.asarray([object()])}, 'cannot be read as an .npz file: .* holds object'),
    ],
)
def test_other_content(tmp_path, arrays, message):
    np.savez(tmp_path / 'a.npz', **arrays)
    with pytest.raises(ValueError, match=message):
        data.load('npz', data_dir=tmp_path / 'a.npz')


def test_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no file .*a.npz'):
        data.load('npz', data_dir=tmp_path / 'a.npz')
    with pytest.raises(ValueError, match=r'no readable image in'):
        data.load('npz', data_dir=tmp_path)
    with pytest.raises(ValueError, match=r'npz is a file of images: pass its path'):
        data.load('npz')
    np.save(tmp_path / 'a.npy', np.zeros(3))
    buffer = io.BytesIO()
    Image.new('L', (4, 4)).save(buffer, 'PNG')
    (tmp_path / 'b.npz').write_bytes(buffer.getvalue())
    (tmp_path / 'c.npz').touch()
    (tmp_path / 'd.npz').write_bytes(pickle.dumps({'images': 3}))
    np.savez(tmp_path / 'e.npz', images=noise(9, 8, 8))
    content = (tmp_path / 'e.npz').read_bytes()
    (tmp_path / 'e.npz').write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r'a.npy: the array must be \[M, H, W, C\]'):
        data.load('npz', data_dir=tmp_path / 'a.npy')
    for name in ('b.npz', 'c.npz', 'd.npz', 'e.npz'):
        with pytest.raises(ValueError, match=rf'{name} cannot be read as an .npz file'):
            data.load('npz', data_dir=tmp_path / name)
