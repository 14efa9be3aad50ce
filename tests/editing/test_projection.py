"""Projection: generated images are found again; schedules and penalties against references."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from osgan_jax import data, editing, gan, reporting
from osgan_jax.compression import teachers
from osgan_jax.editing import noise_maps, projection, render, similarity
from osgan_jax.evaluation.features import classifier_network
from osgan_jax.gan import sampling
from osgan_jax.networks import dcgan, stylegan2
from tests.support import modules
from tests.support.editable import HandMade

CLASSES = 3


@pytest.fixture(scope='module')
def labelled():
    """A DCGAN wide enough, and its weights of such sizes, that its images tell z and class."""
    sampler = HandMade('dcgan', CLASSES)
    module = dcgan.Generator(16, 1, 6, CLASSES, width=8)
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        name, first = path[-1].key, path[-2].key == 'ConvTranspose_0'
        if name == 'kernel':
            deviation = 1.5 / np.sqrt(leaf.shape[-1] * (1 if first else 4))
            return np.float32(rng.normal(0, deviation, leaf.shape))
        if name == 'embedding':
            return np.float32(rng.normal(0, 0.5, leaf.shape))
        return np.full(leaf.shape, name in ('scale', 'var'), np.float32)

    shapes = jax.eval_shape(
        lambda: module.init(
            jax.random.key(0), jnp.zeros((1, 6)), jnp.zeros(1, jnp.int32), train=False
        )
    )
    sampler.variables = jax.tree_util.tree_map_with_path(draw, shapes)
    sampler.gan = dataclasses.replace(sampler.gan, generator=module)
    return sampler, editing.EditableGenerator(sampler.gan, sampler.variables, rows=20)


@pytest.fixture(scope='module')
def projector(labelled):
    return projection.Projector(labelled[1], similarity.by_pixels(), steps=120, samples=60, seed=3)


def test_the_rate_rises_and_falls_as_published():
    # By hand from appendix D: linear over 1/20, constant, a cosine over the last 1/4.
    expected = {0: 0.0, 0.025: 0.5, 0.05: 1.0, 0.75: 1.0, 0.875: 0.5, 1.0: 0.0}
    for share, rate in expected.items():
        assert projection.learning_rate(jnp.float32(share)) == pytest.approx(rate, abs=1e-6)


def test_noise_is_compared_with_its_neighbours_at_every_scale():
    maps = np.random.default_rng(0).normal(size=(2, 16, 16)).astype(np.float32)
    total = 0.0
    for one in maps:
        while True:
            size = len(one)
            right = [one[i, j] * one[i, (j + 1) % size] for i in range(size) for j in range(size)]
            below = [one[i, j] * one[(i + 1) % size, j] for i in range(size) for j in range(size)]
            total += np.mean(right) ** 2 + np.mean(below) ** 2
            if size <= 8:
                break
            one = sum(one[i::2, j::2] for i, j in itertools.product((0, 1), repeat=2)) / 2
    assert noise_maps.correlation(jnp.asarray(maps)) == pytest.approx(total, rel=1e-4)
    # Of oblong images either side is the longer; an odd one is of a first grid, as 9x4.
    for shape in ((1, 18, 8), (1, 36, 16), (2, 9, 4)):
        maps = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        turned = float(noise_maps.correlation(jnp.asarray(maps.swapaxes(1, 2))))
        assert noise_maps.correlation(jnp.asarray(maps)) == pytest.approx(turned, rel=1e-4)
        assert turned > 0


def test_starts_are_of_the_nearest_classes_first():
    order, labels = np.array([4, 2, 0, 1, 3]), np.array([1, 0, 0, 2, 0])
    # Samples 4 and 2 are of class 0, as is no. 2's next, 0 of class 1, 3 of class 2.
    assert projection.spread_over_classes(order, labels, 3).tolist() == [4, 0, 3]
    assert projection.spread_over_classes(order, labels, 9).tolist() == [4, 0, 3, 2, 1]
    assert projection.spread_over_classes(order, None, 2).tolist() == [4, 2]


def test_a_generated_image_is_found_again(labelled, projector):
    sampler, generator = labelled
    z = sampler.latents(1, 99)
    images = generator.images(np.repeat(z, CLASSES, axis=0), np.arange(CLASSES))
    found = [projector(images[label]) for label in (2, 0)]
    for result, label in zip(found, (2, 0), strict=True):
        # The class is searched too.
        assert result.latents.label == label
        assert result.distance < result.nearest_distance / 1000
        assert result.pixel_error < 1
        np.testing.assert_allclose(result.latents.point, z[0], atol=0.05)
        assert result.curves.shape == (4, 120)
        assert result.distance == min(result.distances)
        point = result.latents.point[None, None]
        drawn = generator.draw(point, np.array([label]))[0, 0].astype(int)
        np.testing.assert_allclose(drawn, result.image.astype(int), atol=1)
    again = projector(images[2])
    np.testing.assert_array_equal(again.latents.point, found[0].latents.point)
    given = projector(images[2], label=1)
    assert given.latents.label == 1
    assert given.distance > again.distance
    # One program for all images and labels.
    assert projector._optimise._cache_size() == 1


def test_noise_is_a_share_of_the_deviation_of_each_class(style, monkeypatch):
    _, generator = style
    size = len(generator.average)
    # Of class k, w is k + 1 times as wide.
    wide = lambda z, labels: (1 + labels[:, None]) * np.asarray(z)[:, :1] * np.ones(size)  # noqa: E731
    monkeypatch.setattr(generator, 'codes', wide)
    projector = projection.Projector(generator, similarity.by_pixels(), samples=4)
    found = projector._deviations(3, np.array([1, 0, 1]))
    assert found.shape == (3, 1)
    np.testing.assert_allclose(found[:, 0] / found[1, 0], [2, 1, 2], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('space', ['w', 'w_plus'])
def test_an_image_of_w_is_found_again(style, space):
    sampler, generator = style

    def quieter(path, leaf):
        # As of trained generators: noise adds detail and is not the picture.
        return leaf * 0.02 if path[-1].key == 'noise_strength' else leaf

    variables = jax.tree_util.tree_map_with_path(quieter, generator.variables)
    generator = generator.with_variables(variables)
    w = generator.codes(sampler.latents(2, 98), np.array([1, 1]))
    ws = np.repeat(w[:, None], generator.num_styles, axis=1)
    if space == 'w_plus':
        ws[0, 2:] = w[1]
    project = projection.Projector(
        generator,
        similarity.by_pixels(),
        space=space,
        steps=150,
        restarts=2,
        samples=40,
        noise=space == 'w_plus',
    )
    wanted = generator.points(ws[:1], then=reporting.to_uint8)[0]
    result = project(wanted, 1)
    assert result.distance < result.nearest_distance / 5
    assert result.latents.point.shape == generator.point_shapes()[space]
    shapes = [each.shape for each in result.latents.noise]
    assert shapes == ([(4, 4), (8, 8), (8, 8)] if space == 'w_plus' else [])
    # What sheets draw is near, for their noise is where the optimisation began.
    assert result.plain_distance < result.nearest_distance / 2
    for each in result.latents.noise:
        # Standardised at every step.
        assert each.mean() == pytest.approx(0, abs=1e-5)
        assert each.std() == pytest.approx(1, abs=1e-3)
    if space == 'w':
        assert result.plain_distance == result.distance


def test_what_cannot_be_projected_is_refused(labelled, plain, projector):
    with pytest.raises(ValueError, match='project_space=w: this dcgan is projected into z'):
        projection.Projector(plain[1], similarity.by_pixels(), space='w')
    for shape, dtype in (((16, 16, 3), np.uint8), ((8, 8, 1), np.uint8), ((16, 16, 1), float)):
        with pytest.raises(ValueError, match=r'expected a uint8 image \[16, 16, 1\] to project'):
            projector(np.zeros(shape, dtype))


@pytest.mark.parametrize('name', ['discriminator', 'classifier'])
def test_images_are_compared_alone_and_differ_from_others(name):
    images = jax.random.uniform(jax.random.key(0), (4, 8, 8, 1), minval=-1)
    if name == 'discriminator':
        judge = stylegan2.Discriminator(8, 1, base_channels=64, max_channels=8)
    else:
        judge = classifier_network.Network(8, 3, 'small')
    variables = modules.init(judge, jax.random.key(1), images, train=False)
    if name == 'discriminator':
        compare = similarity.by_discriminator(judge, variables)
    else:
        compare = similarity.by_classifier(
            classifier_network.Classifier(8, 1, 3, 0.5, variables, {}, 'small')
        )

    @jax.jit
    def far(targets, images):
        prepared = compare.prepare(compare.constants, targets, None)
        return compare.compare(compare.constants, prepared, images, None)

    values = far(images, images[::-1])
    np.testing.assert_allclose(far(images[:1], images[3:]), values[:1], rtol=1e-5)
    np.testing.assert_allclose(far(images, images), 0, atol=1e-6)
    # Features beside the pixels: their sum is in [0, 4] for vectors of length 1.
    features = values - jnp.mean((images - images[::-1]) ** 2, (1, 2, 3))
    assert features.min() > 0.01
    assert features.max() < 4


def test_images_for_lpips_are_averaged_down():
    pictures = np.random.default_rng(0).uniform(-1, 1, (1, 512, 512, 1)).astype(np.float32)
    compare = similarity.by_lpips(
        editing.similarity.Distance('test', '', lambda a, b: jnp.sum(jnp.abs(a - b), (1, 2, 3)))
    )
    prepared = compare.prepare(compare.constants, pictures, None)
    assert prepared.shape == (1, 256, 256, 1)
    assert prepared[0, 3, 5, 0] == pytest.approx(pictures[0, 6:8, 10:12].mean(), abs=1e-6)
    assert compare.compare(compare.constants, prepared, pictures, None) == pytest.approx(0)
    # By whole blocks of what is not square.
    for shape, smaller in (((768, 512), (384, 256)), ((512, 768), (256, 384)), ((515, 600),) * 2):
        prepared = compare.prepare(compare.constants, np.ones((1, *shape, 1), np.float32), None)
        assert prepared.shape == (1, *smaller, 1)


def test_projected_images_go_to_other_sheets(labelled, tmp_path, monkeypatch):
    sampler, generator = labelled
    monkeypatch.setattr(render, 'EditableGenerator', lambda *_: generator)
    images = generator.images(sampler.latents(2, 97), np.array([0, 2]))
    folder = tmp_path / 'pictures'
    folder.mkdir()
    Image.fromarray(images[0, ..., 0]).save(folder / 'first.png')
    Image.fromarray(np.repeat(images[1], 3, axis=2)).resize((8, 8)).save(folder / 'second.png')
    (folder / 'notes.txt').write_text('not an image')
    said = []
    config = dict(
        similarity='pixels', project_steps=60, project_samples=40, restarts=2, frames=3, columns=3
    )

    def edit(**fields):
        config_ = editing.EditConfig(**config, **fields)
        return editing.edit(sampler, config_, tmp_path / 'out', say=said.append)

    written = edit(project=(str(folder),), sheet=('interpolate_z',))
    assert written[0] == '2 images and latents in projected'
    assert 'Projecting 2 images into z; compared by pixels.' in said
    assert any('second.png: enlarged from 8x8 pixels.' in line for line in said)
    assert any(line.startswith('first: distance 0.0') for line in said)
    with Image.open(tmp_path / 'out' / 'projected' / 'first.png') as picture:
        assert picture.size == (825, 572)
    files = tuple(str(tmp_path / 'out' / 'projected' / f'{n}.npz') for n in ('first', 'second'))
    path = tmp_path / 'out' / 'interpolate_z.png'
    drawn = path.read_bytes()
    path.unlink()
    # From the files it is the same sheet, whose ends are the two images, whatever their classes.
    edit(latents=files, sheet=('interpolate_z', 'truncation'))
    assert path.read_bytes() == drawn
    first = editing.latents.load(files[0], generator.point_shapes(), CLASSES)
    assert first.label == 0
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet)[2:66:4, 2:66:4]
    expected = generator.draw(first.point[None, None], np.array([0]))[0, 0, ..., 0]
    np.testing.assert_allclose(pixels.astype(int), expected.astype(int), atol=1)
    with pytest.raises(ValueError, match='needs the latents of two'):
        edit(latents=files[:1], sheet=('interpolate_z',))
    # Before what takes long.
    monkeypatch.setattr(projection.Projector, '__call__', lambda *_: pytest.fail('projected'))
    with pytest.raises(ValueError, match='needs the latents of two'):
        edit(project=(str(folder / 'first.png'),), sheet=('interpolate_z',))
    with pytest.raises(
        ValueError, match=r'holds latents \[6\] in z, but this run has \[6\] in w, '
    ):
        editing.latents.load(files[0], {'w': (6,), 'w_plus': (4, 6)}, CLASSES)
    with pytest.raises(ValueError, match='latents of class 0, but this run has 0 classes'):
        editing.latents.load(files[0], generator.point_shapes(), 0)
    with pytest.raises(ValueError, match=r'cannot project .*notes\.txt: not an image'):
        edit(project=(str(folder / 'notes.txt'),))
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='the folder holds no images'):
        edit(project=(str(tmp_path / 'empty'),))
    with pytest.raises(ValueError, match='--similarity=lpips and --lpips_weights'):
        editing.edit(
            sampler,
            editing.EditConfig(project=(str(folder),), similarity='lpips'),
            tmp_path / 'out',
        )


@pytest.mark.slow
def test_real_digits_are_found_by_a_trained_generator(tmp_path):
    train, test = (data.load('digits', image_size=16, split=name) for name in ('train', 'test'))
    config = gan.Config(
        method='dcgan',
        optimizer='optimistic_adam',
        conditional=True,
        image_size=16,
        width=16,
        num_steps=1000,
        num_devices=1,
    )
    gan.train(config, tmp_path / 'run', dataset=train)
    sampler = sampling.Sampler(tmp_path / 'run')
    generator = editing.EditableGenerator(sampler.gan, sampler.variables)
    judge = teachers.load(tmp_path / 'run')
    project = projection.Projector(
        generator,
        similarity.by_discriminator(judge.gan.discriminator, judge.variables['discriminator']),
        steps=300,
        samples=200,
    )
    # Of writers whom the generator has not seen.
    rows = [test[index] for index in (0, 50, 100, 150)]
    found = [project(row['image']) for row in rows]
    for result in found:
        assert result.distance < result.nearest_distance / 2
        # Images differ by tens of levels from pixel to pixel.
        assert result.pixel_error < 30
    right = [result.latents.label == row['label'] for result, row in zip(found, rows, strict=True)]
    assert sum(right) >= 3
