"""Oblong images from a folder to grids and scores, through the commands; and what is refused."""

import json

import numpy as np
import pytest
from PIL import Image

from osgan_jax import data, distillation
from osgan_jax.evaluation import comparison, memorisation, score_log
from osgan_jax.evaluation.features import classifier_network, classifier_training, extractors
from osgan_jax.gan import methods, sampling, summary, trainer
from osgan_jax.gan.config import TrainConfig
from tests.support import launching, small

HEIGHT, WIDTH = 16, 24


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """A folder of oblong images of two classes, which nothing has to crop."""
    root = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    for index in range(24):
        folder = root / 'ab'[index % 2]
        folder.mkdir(exist_ok=True)
        image = rng.integers(0, 100, (HEIGHT, WIDTH), dtype=np.uint8) + 100 * (index % 2)
        Image.fromarray(image.astype(np.uint8)).save(folder / f'{index}.png')
    return root


@pytest.fixture(scope='module')
def trained(photos, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('oblong') / 'run'
    done = launching.call(
        'train',
        *('--method=lsgan', '--conditional', '--dataset=folder', f'--data_dir={photos}'),
        *(f'--image_size={HEIGHT}x{WIDTH}', '--width=2', '--latent_dim=4', '--batch_size=8'),
        *('--augment=color,translation,cutout', '--num_steps=2', '--sample_every=2'),
        *('--num_samples=6', '--num_devices=1', f'--workdir={workdir}'),
    )
    assert done.code == 0, done.err
    return workdir, done.out


def test_a_run_of_a_folder(trained):
    workdir, out = trained
    assert '24 images an epoch, 16x24x1' in ' '.join(out.split())
    saved = json.loads((workdir / 'config.json').read_text())
    assert saved['config']['image_size'] == '16x24'
    with Image.open(workdir / 'samples' / 'step_0000002.png') as grid:
        # A column for each class; 16 pixels become 64, and the other side as many times more.
        assert grid.size == (2 * (4 * WIDTH + 2) + 2, 3 * (4 * HEIGHT + 2) + 2)


def test_samples_interpolations_and_scores_of_a_run(trained, tmp_path):
    workdir, _ = trained
    done = launching.call(
        *('sample', f'--workdir={workdir}', '--grid=4', '--count=2', '--interpolate=1'),
        *('--steps=3', f'--out={tmp_path}'),
    )
    assert done.code == 0, done.err
    with Image.open(tmp_path / 'interpolations.png') as image:
        assert image.size == (3 * (4 * WIDTH + 2) + 2, 4 * HEIGHT + 4)
    with Image.open(next(tmp_path.rglob('*0001.png'))) as image:
        assert image.size == (WIDTH, HEIGHT)
    done = launching.call(
        *('evaluate', f'--workdir={workdir}', '--metrics=', '--nearest=5'),
        f'--cache_dir={tmp_path}',
    )
    assert done.code == 0, done.err
    assert 0 <= score_log.read(workdir)[-1]['pixels_copies'] <= 1
    assert sampling.Sampler(workdir).gan.image_shape == (HEIGHT, WIDTH, 1)


def test_two_sets_keep_their_shape(photos):
    side = comparison.open_set(photos)
    assert side.image_size == '16x24'
    other = comparison.open_set(photos, image_size=16)
    assert 'images of 16x24 pixels' in comparison.describe(side)
    resizing = extractors.Extractor('resizing', '', '', None, image_size=299)
    said = comparison.describe_sizes(side, other, resizing)
    assert 'are of 16x24 and 16x16 pixels; for their features both are resized to 299x299' in said
    assert comparison.describe_sizes(side, side, resizing) is None


def test_nearest_images_are_found_among_oblong_ones(photos):
    dataset = data.load('folder', data_dir=photos, image_size='16x24')
    images = np.stack([dataset[index]['image'] for index in (3, 20)])
    found = memorisation.find(images, dataset, memorisation.pixels())
    np.testing.assert_array_equal(found.rows[:, 0], [3, 20])
    assert memorisation.pixels().apply(images).pooled.shape == (2, 16 * 16)
    assert memorisation.sheet(images, dataset, found).shape[1] == 6 * (4 * WIDTH + 2) + 2


def test_a_classifier_sees_oblong_images_as_squares(photos):
    dataset = data.load('folder', data_dir=photos, image_size='16x24')
    classifier = classifier_training.train(dataset, size='small', epochs=1)
    assert classifier.image_size == 16
    images = np.stack([dataset[index]['image'] for index in range(2)])
    extractor = classifier_network.extractor(classifier, batch_size=2)
    # As Pillow's, jax's bilinear filter widens where images shrink.
    squares = np.stack(
        [
            np.asarray(Image.fromarray(image[..., 0]).resize((16, 16), Image.Resampling.BILINEAR))
            for image in images
        ]
    )[..., None]
    near = extractor.apply(squares).logits
    np.testing.assert_allclose(extractor.apply(images).logits, near, rtol=0.05, atol=0.05)


def test_one_size_is_inferred_and_said(photos):
    config = TrainConfig(method='lsgan', dataset='folder', data_dir=str(photos), upscale=True)
    dataset = trainer.open_dataset(config)
    assert dataset.image_size == '64x96'
    assert dict(dataset.remarks())['size'] == (
        '64x96, the shape of all images, which are 16x24; --image_size=64 makes squares of them'
    )
    squares = trainer.open_dataset(TrainConfig(method='biggan', **_of(config)))
    assert squares.image_size == 64


def _of(config):
    return {name: getattr(config, name) for name in ('dataset', 'data_dir', 'upscale')}


def _resolved(**fields):
    config = small.make_config(**{'image_size': None, 'width': None, **fields})
    size = fields.get('image_size')
    return methods.resolve(config, image_size=size, channels=1, num_classes=2, num_examples=40)


def test_recipes_go_by_pixels_and_the_shorter_side():
    # ADA's rule: 0.0002 times the pixels over the batch; as much for a square of the same pixels.
    sizes = ('32x128', 64, '64x128')
    gammas = [_resolved(method='stylegan2', image_size=size).r1 for size in sizes]
    assert gammas[0] == gammas[1] == 0.0002 * 64 * 64 / small.BATCH
    assert gammas[2] == 2 * gammas[1]
    of_r3gan = [_resolved(method='r3gan', image_size=size).r1 for size in sizes]
    assert of_r3gan == [0.05, 2.0, 2.0]


def test_ada_of_oblong_images_is_told():
    fields = {'method': 'lsgan', 'augment': ('ada',)}
    told = {
        size: dict(summary.lines(_resolved(image_size=size, **fields), 40))['D sees']
        for size in (32, '32x64')
    }
    assert 'turned' not in told[32]
    assert 'turned by 180 degrees alone because they are oblong' in told['32x64']
    colors = _resolved(image_size='32x64', augment_groups=('color',), **fields)
    assert 'turned' not in dict(summary.lines(colors, 40))['D sees']


@pytest.mark.parametrize(
    ('module', 'flags', 'message'),
    [
        ('train', ['--image_size=64x'], 'image_size=64x: expected pixels, as 64 for squares or'),
        ('train', ['--image_size=17x32'], 'dcgan has no 17x32 networks: the shorter side must be'),
        ('train', ['--image_size=17x32'], 'the nearest is --image_size=16x32'),
        ('train', ['--method=biggan', '--image_size=32x64'], 'square images alone, and none of'),
        ('teacher', ['--image_size=32x64'], 'only squares are possible here: give one number'),
        ('benchmark', ['--image_size=32x64,33x64'], 'dcgan has no 33x64 networks'),
        ('benchmark', ['--image_size=32x64,a'], 'image_size=a: expected pixels'),
    ],
)
def test_refusals(module, flags, message, tmp_path):
    where = [] if module == 'benchmark' else [f'--workdir={tmp_path}']
    done = launching.call(module, *where, *flags)
    assert done.code == 1
    assert message in done.err
    assert done.err.count('\n') == 1
    assert not (tmp_path / 'config.json').exists()


def test_classifiers_refuse_oblong_datasets(tmp_path):
    images = np.zeros((20, 8, 12, 1), np.uint8)
    dataset = data.from_arrays(images, np.arange(20) % 2)
    config = distillation.TeacherConfig(num_steps=1, batch_size=2)
    with pytest.raises(ValueError, match='image_size=8x12: only squares are possible here'):
        distillation.train_teacher(config, tmp_path, dataset=dataset, test=dataset)
