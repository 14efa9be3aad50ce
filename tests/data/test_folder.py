import os

import numpy as np
import pytest
from PIL import Image

from osgan_jax import data
from osgan_jax.data import folder, images


def save(path, value=0, size=(40, 40), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, (value, value, value)).save(path, **options)


def load(root, **options):
    return data.load('folder', data_dir=root, **{'image_size': 32, **options})


def values(dataset):
    return [int(dataset[index]['image'][0, 0, 0]) for index in range(len(dataset))]


def test_order_is_by_path_and_endings_in_any_case(tmp_path):
    for value, name in enumerate(['a.png', 'b/c.JPG', 'b/d/e.Webp', 'b/f.bmp', 'g.JpEg']):
        save(tmp_path / name, 10 * value)
    dataset = load(tmp_path)
    assert np.abs(np.subtract(values(dataset), [0, 10, 20, 30, 40])).max() <= 2
    assert dataset.num_classes == 0
    assert dataset.class_names == ()
    assert dataset.report is None
    assert dataset[0]['image'].shape == (32, 32, 1)
    assert dataset[0]['label'] == 0


def test_a_file_is_opened_by_its_content(tmp_path):
    save(tmp_path / 'a.png', 7, format='BMP')
    assert values(load(tmp_path)) == [7]


def test_subfolders_are_classes(tmp_path):
    for name in ['dog/2.png', 'cat/1.png', 'dog/deep/er/3.png', 'ant/4.png']:
        save(tmp_path / name)
    dataset = load(tmp_path)
    assert dataset.class_names == ('ant', 'cat', 'dog')
    assert dataset.num_classes == 3
    assert [int(row['label']) for row in dataset] == [0, 1, 2, 2]
    assert dataset[0]['label'].dtype == np.int32


def test_images_beside_subfolders_or_one_subfolder_are_no_classes(tmp_path):
    save(tmp_path / 'one' / 'a' / '1.png')
    assert load(tmp_path).num_classes == 0
    save(tmp_path / 'two' / '1.png')
    assert load(tmp_path).num_classes == 2
    save(tmp_path / '1.png')
    assert load(tmp_path).num_classes == 0


def test_ffhq_numbered_subfolders_are_no_classes(tmp_path):
    for name in ['00000/00000.png', '01000/01000.png']:
        save(tmp_path / name, size=(70, 70))
    dataset = data.load('ffhq', data_dir=tmp_path)
    assert (dataset.num_classes, dataset.image_size, len(dataset)) == (0, 64, 2)
    assert dict(dataset.notes)['labels'] == 'none: not read (--labels=none)'
    assert len(data.load('folder', data_dir=tmp_path, split='Train')) == 2


def test_unreadable_files_are_skipped_counted_and_named(tmp_path):
    save(tmp_path / 'good.png')
    save(tmp_path / 'cut.png')
    content = (tmp_path / 'cut.png').read_bytes()
    (tmp_path / 'cut.png').write_bytes(content[: len(content) // 2])
    (tmp_path / 'empty.jpg').touch()
    (tmp_path / 'text.webp').write_text('hello')
    (tmp_path / 'gone.png').symlink_to(tmp_path / 'nowhere.png')
    (tmp_path / 'notes.txt').write_text('hello')
    (tmp_path / '.hidden.png').write_text('hello')
    os.mkfifo(tmp_path / 'pipe.png')
    dataset = load(tmp_path)
    assert len(dataset) == 1
    assert dataset.report.startswith('skipped 5 of 6: cut.png (')
    for part in [
        'empty.jpg (empty file)',
        'gone.png (No such file or directory)',
        'pipe.png (not a regular file)',
        'text.webp (not an image, or damaged at its start)',
        'passed over 1 file that is not an image: .txt 1',
    ]:
        assert part in dataset.report
    assert 'hidden' not in dataset.report


def test_a_long_report_is_cut(tmp_path):
    save(tmp_path / 'good.png')
    for number in range(25):
        (tmp_path / f'{number:02}.png').touch()
    report = load(tmp_path).report
    assert report.startswith('skipped 25 of 26: 00.png (empty file), ')
    assert report.endswith('09.png (empty file), and 15 more')


def test_symbolic_links_are_followed_but_not_for_ever(tmp_path):
    root = tmp_path / 'root'
    save(root / 'a' / '1.png')
    save(tmp_path / 'elsewhere' / '2.png')
    (root / 'b').symlink_to(tmp_path / 'elsewhere')
    (root / 'a' / 'up').symlink_to(root)
    (root / 'a' / 'self').symlink_to(root / 'a')
    (root / 'a' / 'loop').symlink_to(root / 'a' / 'loop')
    dataset = load(root)
    assert len(dataset) == 2
    assert dataset.class_names == ('a', 'b')
    (root / 'c').symlink_to(tmp_path / 'elsewhere')
    again = load(root)
    assert again.class_names == ('a', 'b')
    assert (dataset.report, again.report) == (None, 'read once: c (the same folder as b)')
    assert 'empty' not in dict(again.remarks())


@pytest.mark.parametrize('name', ['a b.png', 'ü漢字.png', 'new\nline.png', b'\xff\xfe.png'])
def test_odd_names(tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), os.fsencode(name))
    Image.new('RGB', (40, 40)).save(os.fsdecode(path), format='PNG')
    with open(path + b'.png', 'wb'):
        pass
    dataset = load(tmp_path)
    assert len(load(tmp_path)) == len(dataset) == 1
    dataset.report.encode('utf-8')
    assert '\n' not in dataset.report


def test_nothing_to_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no file or folder .*/nowhere$'):
        load(tmp_path / 'nowhere')
    with pytest.raises(ValueError, match=r'no readable image in .*$'):
        load(tmp_path)
    (tmp_path / 'a.heic').touch()
    with pytest.raises(ValueError, match=r'passed over 1 file that is not an image: .heic 1'):
        load(tmp_path)
    (tmp_path / 'a.png').touch()
    with pytest.raises(ValueError, match=r'skipped 1 of 1: a.png \(empty file\)'):
        load(tmp_path)
    with pytest.raises(ValueError, match=r'a.png is a file that is not read: give the folder'):
        load(tmp_path / 'a.png')
    with pytest.raises(ValueError, match='folder is a folder of images: pass its path'):
        data.load('folder')
    save(tmp_path / 'b.png')
    with pytest.raises(ValueError, match="one split, 'train', got 'test'"):
        load(tmp_path, split='test')


def test_images_smaller_than_asked(tmp_path):
    save(tmp_path / 'large.png', size=(64, 64))
    save(tmp_path / 'small.png', size=(200, 31))
    with pytest.raises(
        ValueError,
        match=r'1 of 2 images in .* is smaller than 32x32, the smallest is small.png with '
        '31x200 pixels: --upscale enlarges them to 32x32, --image_size=31 makes all of them 31x31',
    ):
        load(tmp_path)
    assert load(tmp_path, upscale=True)[1]['image'].shape == (32, 32, 1)
    assert load(tmp_path, image_size=31, channels=3)[1]['image'].shape == (31, 31, 3)


def test_verdicts_are_remembered_until_a_file_changes(tmp_path, monkeypatch):
    for name in ('a.png', 'b.png', 'c.png'):
        save(tmp_path / name)
    (tmp_path / 'c.png').write_text('damaged')
    checked = []
    inspect = images.inspect

    def counted(path, *frames):
        checked.append(os.path.basename(path))
        return inspect(path, *frames)

    monkeypatch.setattr(images, 'inspect', counted)
    first = load(tmp_path)
    assert sorted(checked) == ['a.png', 'b.png', 'c.png']
    checked.clear()
    again = load(tmp_path)
    assert checked == []
    assert again.report == first.report
    assert len(again) == len(first) == 2
    (tmp_path / 'b.png').write_text('damaged too')
    os.unlink(tmp_path / 'a.png')
    save(tmp_path / 'c.png', 9)
    assert values(load(tmp_path)) == [9]
    assert sorted(checked) == ['b.png', 'c.png']


def test_an_interrupted_check_goes_on_where_it_was(tmp_path, monkeypatch):
    names = [f'{number:02}.png' for number in range(20)]
    for name in names:
        save(tmp_path / name)
    checked = []
    inspect = images.inspect

    def interrupted(path, *frames):
        if os.path.basename(path) == '15.png':
            raise KeyboardInterrupt
        return inspect(path, *frames)

    monkeypatch.setattr(images, 'inspect', interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(tmp_path)
    monkeypatch.setattr(
        images, 'inspect', lambda path, *frames: checked.append(path) or inspect(path, *frames)
    )
    assert len(load(tmp_path)) == 20
    assert sorted(map(os.path.basename, checked)) == names[15:]


def test_a_damaged_or_unwritable_memory_is_no_obstacle(tmp_path, monkeypatch, caplog):
    save(tmp_path / 'root' / 'a.png')
    cache = tmp_path / 'cache'
    monkeypatch.setenv('OSGAN_JAX_CACHE', str(cache))
    load(tmp_path / 'root')
    (index,) = (cache / 'folders').iterdir()
    for content in (b'', b'[]', b'{"files": 3}', b'\xff', index.read_bytes()[:20]):
        index.write_bytes(content)
        assert len(load(tmp_path / 'root')) == 1
    checked = []
    with monkeypatch.context() as patched:
        patched.setattr(images, 'inspect', checked.append)
        assert len(load(tmp_path / 'root')) == 1
    assert checked == []
    (tmp_path / 'file').touch()
    monkeypatch.setenv('OSGAN_JAX_CACHE', str(tmp_path / 'file'))
    assert len(load(tmp_path / 'root')) == 1
    assert 'which images are readable' in caplog.text


def test_an_image_damaged_during_training_is_named(tmp_path):
    save(tmp_path / 'a.png')
    dataset = load(tmp_path)
    (tmp_path / 'a.png').write_text('damaged')
    with pytest.raises(ValueError, match=r'a.png was readable when the folder was opened'):
        dataset[0]


def test_scan_keeps_sizes_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / 'a.jpg', size=(50, 40), exif=exif)
    np.testing.assert_array_equal(folder.scan(tmp_path).sizes, [[40, 50]])
