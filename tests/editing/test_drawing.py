"""Sheets and paths against direct calls of generators, and whole edits of runs made by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from osgan_jax import editing, reporting
from osgan_jax.editing import paths, render, sheets
from osgan_jax.gan import sampling
from tests.support.editable import CLASSES, MODULES, HandMade


def same(found, expected):
    """Equal but for rounding to whole levels, and images of something."""
    assert found.dtype == np.uint8
    assert np.std(expected.astype(float)) > 2
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1)


def test_samples_do_not_depend_on_how_many_are_asked_for(plain):
    sampler, _ = plain
    np.testing.assert_array_equal(sampler.latents(3, 5), sampler.latents(9, 5)[:3])


def test_chunks_do_not_show(style):
    sampler, generator = style
    z, labels = sampler.latents(5, 0), sampler.labels(5)
    w = generator.codes(z, labels)
    np.testing.assert_allclose(w, sampler.direct('mapping', z, labels), atol=1e-5)
    same(generator.images(z, labels), sampler.plain(z, labels))
    same(generator.draw(w[:, None])[:, 0], sampler.plain(z, labels))


@pytest.mark.parametrize('name', ['coarse', '2-3', '1-1'])
def test_mixed_styles_come_from_rows_and_columns(style, name):
    sampler, generator = style
    w = generator.codes(*(sampler.latents(5, 1), sampler.labels(5)))
    rows, columns = w[:2], w[2:]
    taken = sheets.layers(name, generator.num_styles)
    assert list(taken) == {'coarse': [0, 1, 2, 3], '2-3': [2, 3], '1-1': [1]}[name]
    cells = sheets.mix(generator, rows, columns, taken)
    assert cells.shape == (2, 3, 8, 8, 1)
    for r in range(2):
        for c in range(3):
            ws = [columns[c] if layer in taken else rows[r] for layer in range(4)]
            same(cells[r, c], sampler.synthesised(np.stack(ws)[None])[0])
    every = sampler.plain(sampler.latents(5, 1), sampler.labels(5))[2:]
    assert (np.abs(cells[1].astype(int) - every).max() > 20) == (name != 'coarse')


def test_layers_are_named_or_counted():
    assert sheets.bands(6) == ('coarse', 'middle')
    assert sheets.bands(14) == ('coarse', 'middle', 'fine')
    assert sheets.layers('fine', 14) == range(8, 14)
    for name, message in [
        ('fine', 'has 0 to 5: choose others'),
        ('4-6', 'expected two of 0 to 5'),
        ('3-2', 'expected two of 0 to 5'),
        ('3', 'expected coarse, middle, fine, or first-last'),
        ('-1-2', 'expected coarse'),
    ]:
        with pytest.raises(ValueError, match=message):
            sheets.layers(name, 6)


def test_sheets_have_sources_along_their_edges():
    cells = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1, 1) * np.ones((4, 4, 1), np.uint8)
    top, left = cells[0] + 100, cells[:, 0] + 200
    sheet = sheets.draw(cells, top=top, left=left, scale=2)
    tile = 4 * 2 + 2
    assert sheet.shape == (3 * tile + 2, 4 * tile + 2, 1)
    middles = sheet[2 + 4 :: tile, 2 + 4 :: tile, 0]
    np.testing.assert_array_equal(middles, [[255, 100, 101, 102], [200, 0, 1, 2], [203, 3, 4, 5]])
    assert sheets.draw(cells).shape == (2 * 6 + 2, 3 * 6 + 2, 1)


def test_sheets_of_paths_show_both_ends():
    np.testing.assert_array_equal(sheets.spread(9, 3), [0, 4, 8])
    np.testing.assert_array_equal(sheets.spread(2, 8), [0, 1])


@pytest.mark.parametrize('name', ['style', 'plain'])
def test_paths_through_z_end_at_their_samples(request, name):
    sampler, generator = request.getfixturevalue(name)
    z, labels = sampler.latents(4, 2), sampler.labels(2)
    cells = paths.through_z(generator, z[:2], z[2:], labels, labels, 5)
    assert cells.shape == (2, 5, *sampler.gan.image_shape)
    same(cells[:, 0], sampler.plain(z[:2], labels))
    same(cells[:, -1], sampler.plain(z[2:], labels))
    middle = sampling.interpolate(jnp.stack([z[0], z[2]]), 5)[2:3]
    same(cells[0, 2:3], sampler.plain(middle, None if labels is None else labels[:1]))


def test_paths_through_w_are_straight_and_end_at_their_samples(style):
    sampler, generator = style
    z, labels = sampler.latents(4, 2), sampler.labels(2)
    start, end = (generator.codes(part, labels) for part in (z[:2], z[2:]))
    np.testing.assert_allclose(start, sampler.direct('mapping', z[:2], labels), atol=1e-5)
    path = paths.straight(start, end, 5)
    np.testing.assert_allclose(path[:, 1], 0.75 * start + 0.25 * end, atol=1e-5)
    cells = generator.draw(path)
    same(cells[:, 0], sampler.plain(z[:2], labels))
    same(cells[:, -1], sampler.plain(z[2:], labels))


@pytest.mark.parametrize(
    'name', [pytest.param(n, marks=pytest.mark.slow if n == 'biggan' else ()) for n in MODULES]
)
def test_paths_between_classes_end_at_their_classes(style, name):
    sampler, generator = style
    if name != 'stylegan2':
        sampler = HandMade(name, CLASSES)
        generator = editing.EditableGenerator(sampler.gan, sampler.variables)
    z = sampler.latents(2, 3)
    cells = paths.between_classes(generator, z, 2, 0, 5)
    assert cells.shape[:2] == (2, 5)
    same(cells[:, 0], sampler.plain(z, jnp.array([2, 2])))
    same(cells[:, -1], sampler.plain(z, jnp.array([0, 0])))
    if name == 'stylegan2':
        ends = [sampler.direct('mapping', z, jnp.full(2, label)) for label in (2, 0)]
        middle = np.repeat((ends[0] + ends[1])[:, None] / 2, 4, axis=1)
        same(cells[:, 2], sampler.synthesised(middle))
    if name == 'biggan':
        table = sampler.variables['params']['embedding']['embedding']
        embedding = np.stack([(table[2] + table[0]) / 2] * 2)
        module = sampler.gan.generator.clone(axis_name=None)
        middle = jax.jit(
            lambda: module.apply(sampler.variables, z, train=False, embedding=embedding)
        )()
        same(cells[:, 2], reporting.to_uint8(middle))
    loop = np.stack([*paths.around_classes(generator, z[0], (2, 0, 1), 2)])
    assert len(loop) == 6
    same(loop[::2], sampler.plain(jnp.tile(z[:1], (3, 1)), jnp.array([2, 0, 1])))
    with pytest.raises(ValueError, match='class 3: expected 0 to 2'):
        paths.between_classes(generator, z, 0, 3, 5)


def test_truncation_in_w_goes_from_the_average_to_the_sample(style):
    sampler, generator = style
    z, labels = sampler.latents(2, 4), sampler.labels(2)
    codes = paths.towards_average(generator, generator.codes(z, labels), [-1, 0, 0.5, 1])
    cells = generator.draw(codes)
    same(cells[:, 3], sampler.plain(z, labels))
    average = sampler.variables['batch_stats']['w_average']
    for row in range(2):
        same(cells[row, 1:2], sampler.synthesised(np.tile(average, (1, 4, 1))))
    w = sampler.direct('mapping', z, labels)
    half = sampler.gan.generator.apply(sampler.variables, w, 0.5, method='styles')
    same(cells[:, 2], sampler.synthesised(half))
    np.testing.assert_allclose(codes[:, 0] + codes[:, 3], 2 * codes[:, 1], atol=1e-5)
    with pytest.raises(ValueError, match='finite'):
        paths.towards_average(generator, codes[:, 0], [np.inf])


def test_truncated_latents_are_truncated_normals():
    z = jax.random.normal(jax.random.key(0), (40, 500)).at[0, 0].set(7.0).at[0, 1].set(0.0)
    limits = [0.04, 0.5, 1.0, 2.0, np.inf]
    found = paths.truncated(z, limits)
    assert found.shape == (40, 5, 500)
    np.testing.assert_array_equal(found[:, -1], z)
    again = np.random.default_rng(0)
    for column, limit in enumerate(limits[:-1]):
        assert np.abs(found[:, column]).max() <= limit
        # Drawn again until within the limit, as BigGAN does.
        drawn = again.normal(size=200_000)
        drawn = drawn[np.abs(drawn) < limit]
        assert np.std(found[:, column]) == pytest.approx(np.std(drawn), rel=0.03)
        assert np.mean(found[:, column] > limit / 2) == pytest.approx(
            np.mean(drawn > limit / 2), abs=0.01
        )
    steps = np.diff(np.abs(found), axis=1)
    assert steps.min() >= 0
    with pytest.raises(ValueError, match='positive'):
        paths.truncated(z, [1.0, 0.0])


def test_a_sheet_that_cannot_be_drawn_names_those_that_can(plain, style, tmp_path):
    sampler, generator = plain
    assert generator.sheets() == ('interpolate_z', 'truncation', 'direction', 'masked', 'gradients')
    assert style[1].sheets() == editing.config.SHEETS
    with pytest.raises(
        ValueError,
        match='mixing cannot be drawn of this dcgan, it has no w: choose among interpolate_z, trun',
    ):
        editing.edit(sampler, editing.EditConfig(sheet=('truncation', 'mixing')), tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
    with pytest.raises(ValueError, match='trained without labels'):
        generator.require('interpolate_classes')
    # Networks of one's own may declare another distribution of z, which no threshold cuts off.
    network = dataclasses.replace(sampler.gan.network, latents=jax.random.uniform)
    gan = dataclasses.replace(sampler.gan, network=network)
    with pytest.raises(ValueError, match=r'truncation .* latents are not normal: choose'):
        editing.EditableGenerator(gan, sampler.variables).require('truncation')


def test_every_sheet_of_a_conditional_stylegan2(style, tmp_path, monkeypatch):
    sampler, generator = style
    # Compiled before.
    monkeypatch.setattr(render, 'EditableGenerator', lambda *_: generator)
    config = editing.EditConfig(
        # Gradients need a run.
        sheet=editing.config.SHEETS[:-1],
        mixing_layers=('coarse', '2-3'),
        rows=2,
        columns=3,
        frames=4,
        classes=(1, 2),
        strengths=(-1.0, 0.0, 2.0),
        num_samples=60,
        target_class=2,
        against=0,
    )
    said = []
    written = editing.edit(sampler, config, tmp_path, say=said.append)
    names = [
        'mixing_coarse.png',
        'mixing_2-3.png',
        'interpolate_z.png',
        'interpolate_z.webp',
        'interpolate_w.png',
        'interpolate_w.webp',
        'interpolate_classes.png',
        'interpolate_classes.webp',
        'truncation.png',
        'direction_2_against_0.npz',
        'direction_2_against_0.png',
        'direction_2_against_0.webp',
        'masked.png',
    ]
    assert written == names
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    tile = 64 + 2
    sizes = {'mixing_coarse.png': (4, 3), 'truncation.png': (7, 2), names[-3]: (3, 2)}
    sizes |= {'masked.png': (3, 2)}
    for name, (columns, rows) in sizes.items():
        with Image.open(tmp_path / name) as image:
            assert image.size == (columns * tile + 2, rows * tile + 2)
    assert 'Columns of truncation.png: -1, -0.5, 0' in said[0]
    # What stands in the middle column of the direction is nobody's move.
    with Image.open(tmp_path / names[-3]) as image:
        pixels = np.asarray(image)[2:-2, tile + 2 : tile + 66]
    z, labels = sampler.latents(2, 0), sampler.labels(2)
    expected = sampler.plain(z, labels)[..., 0].repeat(8, 1).repeat(8, 2)
    same(np.stack([pixels[:64], pixels[tile:]]), expected)
    # The labels shape w: they are told apart in it.
    direction = editing.directions.load(tmp_path / names[-4], 'w', 6)
    assert direction.about['accuracy'] > 0.8
    again = dataclasses.replace(config, sheet=('interpolate_w', 'direction'))
    for name in editing.edit(sampler, again, tmp_path / 'again', say=said.append):
        if not name.endswith('.npz'):
            assert (tmp_path / 'again' / name).read_bytes() == (tmp_path / name).read_bytes()
    np.testing.assert_array_equal(
        editing.directions.load(tmp_path / 'again' / names[-4], 'w', 6).normal, direction.normal
    )


def test_a_direction_from_labels_by_hand(plain, tmp_path, monkeypatch):
    sampler, generator = plain
    monkeypatch.setattr(render, 'EditableGenerator', lambda *_: generator)
    said = []

    def edit(**fields):
        config = editing.EditConfig(**{'rows': 2, 'frames': 3, 'num_samples': 60, **fields})
        return editing.edit(sampler, config, tmp_path, say=said.append)

    with pytest.raises(
        ValueError, match='do not depend on its latents, it was trained without any'
    ):
        edit(sheet=('direction',))
    assert edit(label_samples=60) == ['60 samples to label in label_samples/labels.csv']
    labels = tmp_path / 'label_samples' / 'labels.csv'
    with pytest.raises(ValueError, match='labels no sample'):
        edit(sheet=('direction',), sample_labels=str(labels))
    # The sign of one number of z, of some samples in any order.
    z = np.asarray(sampler.latents(60, 0))
    lines = [f'{index},{int(z[index, 4] > 0)}' for index in range(59, 4, -1)]
    labels.write_text('\n'.join(['index,label', *lines]))
    with pytest.raises(ValueError, match='labels samples of seed 0, not 1'):
        edit(sheet=('direction',), sample_labels=str(labels), seed=1)
    with pytest.raises(ValueError, match='no sample has label 7; there are: 0, 1'):
        edit(sheet=('direction',), sample_labels=str(labels), target_class=7)
    written = edit(sheet=('direction',), sample_labels=str(labels))
    assert written == ['direction_1.npz', 'direction_1.png', 'direction_1.webp']
    found = editing.directions.load(tmp_path / written[0], 'z', 6)
    assert found.normal[4] > 0.95
    assert 'direction_1 tells' in said[-1]
    # A direction of another generator is named; it stays where it is.
    foreign = dataclasses.replace(found, about={**found.about, 'generator': 'a', 'step': 7})
    foreign.save(tmp_path / 'foreign.npz')
    before = (tmp_path / 'foreign.npz').read_bytes()
    foreign = str(tmp_path / 'foreign.npz')
    written = edit(sheet=('direction',), direction=foreign, strengths=(2.0,))
    assert written == ['foreign.png']
    assert 'foreign.npz was found with other weights of a generator (step 7)' in said[-1]
    assert (tmp_path / 'foreign.npz').read_bytes() == before
    # Held against itself nothing is left; against another, what that one has not.
    saved = str(tmp_path / 'direction_1.npz')
    with pytest.raises(ValueError, match='no direction remains'):
        edit(sheet=('direction',), direction=saved, orthogonal_to=(saved,))
    other = editing.directions.Direction(np.eye(6, dtype=np.float32)[0], 1.0, 'z')
    other.save(tmp_path / 'other.npz')
    written = edit(
        sheet=('direction',),
        direction=saved,
        orthogonal_to=(str(tmp_path / 'other.npz'),),
        strengths=(2.0,),
    )
    # One column is no path.
    assert written == ['direction_1_orthogonal.npz', 'direction_1_orthogonal.png']
    left = editing.directions.load(tmp_path / written[0], 'z', 6)
    assert abs(left.normal[0]) < 1e-6
    with Image.open(tmp_path / written[1]) as image:
        pixels = np.asarray(image)[2:66:4, 2:66:4]
    moved = z[:1] + 2 * left.deviation * left.normal
    same(pixels[None], sampler.plain(moved)[..., 0])
    with pytest.raises(FileNotFoundError, match=r'nowhere\.npz'):
        edit(sheet=('direction',), direction=str(tmp_path / 'nowhere.npz'))
