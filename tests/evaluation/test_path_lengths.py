"""Path lengths of a run's generator: against direct calls, their records, and from the flags."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax import networks
from osgan_jax.engine import checkpoints, runs
from osgan_jax.evaluation import path_lengths, score_log, score_plot
from osgan_jax.evaluation.features import lpips
from osgan_jax.evaluation.metrics import path_length
from osgan_jax.gan import model
from osgan_jax.networks import dcgan, stylegan2
from tests.support import launching, small

Z, CLASSES = 6, 3
MODULES = {
    'stylegan2': stylegan2.Generator(
        8, 1, Z, w_dim=Z, base_channels=16, max_channels=4, mapping_layers=1, num_classes=CLASSES
    ),
    'dcgan': dcgan.Generator(16, 1, Z, width=2),
}


@jax.tree_util.Partial
def squares(a, b):
    return jnp.sum(jnp.square(a - b), axis=(1, 2, 3))


DISTANCE = lpips.Distance('squares', 'f00df00d', squares)


def by_hand(name):
    """A GAN without a run, as on several devices."""
    module = MODULES[name]
    return model.GAN(
        network=networks.get(name),
        generator=module.clone(axis_name='devices'),
        discriminator=None,
        loss=None,
        optimizer_g=None,
        optimizer_d=None,
        latent_dim=Z,
        image_shape=(module.image_size, module.image_size, 1),
        num_classes=module.num_classes,
    )


@pytest.mark.parametrize(
    ('name', 'which', 'crop'),
    [
        ('stylegan2', 'w_end', False),
        pytest.param('stylegan2', 'z_full', False, marks=pytest.mark.slow),
        pytest.param('dcgan', 'z_full', True, marks=pytest.mark.slow),
    ],
)
def test_a_path_length_is_that_of_the_metric(monkeypatch, name, which, crop):
    gan, module, said, calls = by_hand(name), MODULES[name], [], []
    arrays = (jnp.zeros((1, Z)), jnp.zeros(1, jnp.int32))
    variables = jax.jit(lambda: module.init(jax.random.key(0), *arrays, train=False))()
    original = path_length.pair_distances

    def spy(parts, distance, **arguments):
        calls.append((parts, distance, arguments, original(parts, distance, **arguments)))
        return calls[-1][3]

    monkeypatch.setattr(path_length, 'pair_distances', spy)
    options = {'crop': crop, 'num_pairs': 20, 'seed': 3}
    labels = {'label_policy': 'uniform'} if module.num_classes else {}
    measure = path_lengths.PathLength(
        gan, DISTANCE, which, **options, **labels, progress=lambda *at: said.append(at)
    )
    values = measure(variables)
    [(parts, distance, arguments, distances)] = calls
    mean = path_length.reject_outliers(distances).mean()
    assert mean > 0
    label = f'ppl_{which}' + ('_crop' if crop else '')
    assert measure.names == (label,)
    assert values == {label: mean}
    assert parts.variables is variables
    assert (parts.latent_dim, parts.num_classes) == (Z, module.num_classes)
    assert distance is squares
    assert said == [(0, 20), (16, 20), (20, 20)]
    # All that the metric is asked for, and what the distance is.
    del arguments['progress']
    known = {'distance': 'squares', 'fingerprint': 'f00df00d'}
    assert measure.about == {**arguments, **known, **labels}
    space, sampling = which.split('_')
    assert arguments.items() >= {**options, 'space': space, 'sampling': sampling}.items()


def test_published_path_lengths_are_the_default():
    gan = by_hand('stylegan2')
    assert path_lengths.PathLength(gan, DISTANCE, label_policy='uniform').about == {
        'distance': 'squares',
        'fingerprint': 'f00df00d',
        'num_pairs': 50_000,
        'space': 'w',
        'sampling': 'end',
        'epsilon': 1e-4,
        'crop': False,
        'seed': 0,
        'label_policy': 'uniform',
    }


def test_wrong_requests_are_refused():
    style, plain = map(by_hand, ('stylegan2', 'dcgan'))
    shapes = lpips.Distance('lpips', 'f', lambda a, b: lpips.LPIPS(1).init(jax.random.key(0), a, b))
    for gan, distance, arguments, message in (
        (style, DISTANCE, {'which': 'v_end'}, "some of w_end, w_full, z_end, z_full, got 'v_end'"),
        (style, DISTANCE, {'num_pairs': 0}, 'num_pairs=0: expected at least 1'),
        (style, DISTANCE, {}, 'labels cannot follow the data: .* --label_policy=uniform'),
        (style, DISTANCE, {'label_policy': 'even'}, 'expected one of data, uniform'),
        (plain, DISTANCE, {'which': 'w_full'}, 'path_length=w_full: .* ask for z_end or z_full'),
        (style, shapes, {}, 'path_length=w_end: VGG16 .* of at least 16 pixels'),
        (
            plain,
            shapes,
            {'which': 'z_end', 'crop': True},
            'path_length=z_end of a crop: VGG16 .* of at least 16 pixels',
        ),
    ):
        with pytest.raises(ValueError, match=message):
            path_lengths.PathLength(gan, distance, **arguments)


def test_weights_are_asked_for_and_read(tmp_path):
    with pytest.raises(ValueError, match=r'VGG16 and .* LPIPS v0\.1.*--lpips_weights=FILE,FILE'):
        path_lengths.distance_for([])
    with pytest.raises(FileNotFoundError, match='no file of weights'):
        path_lengths.distance_for([tmp_path / 'none.npz'])
    np.savez(tmp_path / 'a.npz', **{'features.0.bias': np.zeros(64, np.float32)})
    with pytest.raises(ValueError, match='not the weights of LPIPS on VGG16: 30 missing'):
        path_lengths.distance_for([tmp_path / 'a.npz'])


# Records.


def line(**fields):
    about = {
        'distance': 'lpips_vgg16',
        'fingerprint': 'a',
        'num_pairs': 50,
        'space': 'w',
        'sampling': 'end',
        'epsilon': 1e-4,
        'crop': False,
        'seed': 0,
    }
    return {'step': 10, 'seconds': None, 'ppl_w_end': 3.0, **about, **fields}


def test_records_keep_apart_what_does_not_compare(tmp_path):
    scores = {'step': 10, 'seconds': 2.0, 'fid': 7.0, 'fingerprint': 'b', 'seed': 0}
    lines = [
        line(),
        {**scores, 'num_samples': 50},
        *(
            line(**{name: value})
            for name, value in (
                ('fingerprint', 'b'),
                ('num_pairs', 60),
                ('space', 'z'),
                ('sampling', 'full'),
                ('epsilon', 1e-3),
                ('crop', True),
                ('seed', 1),
                ('step', 20),
            )
        ),
    ]
    for each in lines:
        score_log.write(tmp_path, each)
    assert score_log.read(tmp_path) == lines
    score_log.write(tmp_path, line(ppl_w_end=4.0))
    again = score_log.read(tmp_path)
    assert len(again) == len(lines)
    assert line(ppl_w_end=4.0) in again
    assert line() not in again
    assert score_log.metric_names(line()) == ['ppl_w_end']
    assert score_plot.draw(tmp_path).stat().st_size > 1000


# From the flags.


# Flags are of a process: two modules that define the same ones cannot be in this one.
@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    """A run of two checkpoints whose dataset is not there any more."""
    path = tmp_path_factory.mktemp('run')
    config = small.resolve(small.make_config(dataset='npz'))
    gan = model.build(config, num_classes=small.CLASSES, steps_per_epoch=5)
    state = jax.jit(lambda: model.create(gan, 0))()
    runs.write(path, runs.Run(config, small.CLASSES, (), small.EXAMPLES))
    with checkpoints.Checkpoints(path) as saved:
        for step in (1, 2):
            saved.save(step, state.replace(step=jnp.int32(step)), wait=True)
    return path


@pytest.fixture
def run(workdir, monkeypatch):
    """Calls experiments.evaluate, by a distance that needs no weights."""
    apply = jax.tree_util.Partial(lambda a, b: jnp.sum(jnp.square(a - b), axis=(1, 2, 3)))

    def distance(*paths):
        assert paths == ('vgg16.pth', 'vgg.pth')
        return lpips.Distance('squares', 'f00df00d', apply)

    def call(*flags):
        return launching.call('evaluate', f'--workdir={workdir}', *flags)

    monkeypatch.setattr(lpips, 'distance', distance)
    return call


FLAGS = ('--metrics=', '--path_length_pairs=20', '--lpips_weights=vgg16.pth,vgg.pth')


def test_path_lengths_alone_need_no_dataset(workdir, run):
    known = line(step=2, ppl_z_end=7.0, distance='squares', fingerprint='f00df00d', num_pairs=20)
    del known['ppl_w_end']
    known['space'] = 'z'
    score_log.write(workdir, known)
    done = run(*FLAGS, '--path_length=z_end,z_full', '--step=2')
    assert done.code == 0, done.err
    # What is known costs nothing.
    cost = (
        'to measure: 1, each of 20 pairs; 40 images are drawn, and compared by squares (f00df00d)'
    )
    assert cost in done.out
    assert 'step 2: ppl_z_end 7 (lower is better) (scored before; --again scores anew)' in done.out
    assert 'classifier' not in done.out
    first, second = score_log.read(workdir)
    assert first == known
    value = second['ppl_z_full']
    assert value > 0
    assert f'step 2: ppl_z_full {value:.4g} (lower is better)\n' in done.out
    del known['ppl_z_end']
    assert second == {**known, 'ppl_z_full': value, 'sampling': 'full'}


@pytest.mark.slow
def test_crops_of_every_checkpoint(workdir, run):
    done = run(*FLAGS, '--path_length=z_end', '--path_length_crop', '--all', '--seed=5')
    assert done.code == 0, done.err
    assert 'to measure: 2, each of 20 pairs; 80 images' in done.out
    entries = [entry for entry in score_log.read(workdir) if entry['seed'] == 5]
    assert [(entry['step'], entry['crop']) for entry in entries] == [(1, True), (2, True)]
    for entry in entries:
        value = f'{entry["ppl_z_end_crop"]:.4g}'
        assert f'step {entry["step"]}: ppl_z_end_crop {value} (lower is better)\n' in done.out


@pytest.mark.parametrize(
    ('flags', 'sentence'),
    [
        (('--path_length=z_end', '--lpips_weights='), 'with --lpips_weights=FILE,FILE'),
        pytest.param(
            ('--path_length=w_end',),
            'path_length=w_end: this generator has no w',
            marks=pytest.mark.slow,
        ),
        pytest.param((), '--metrics and --path_length are both empty', marks=pytest.mark.slow),
    ],
)
def test_wrong_flags_are_one_sentence(run, flags, sentence):
    done = run(*FLAGS, *flags)
    assert done.code == 1
    assert done.err.startswith('error: ')
    assert len(done.err.splitlines()) == 1
    assert sentence in done.err


@pytest.mark.slow
def test_with_weights_of_full_width(workdir, tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.standard_normal(tensor.shape, np.float32)
        * np.float32((2 / np.prod(tensor.shape[1:])) ** 0.5)
        for name, tensor in lpips.published_tensors().items()
    }
    linear = {name: np.abs(tensors[name]) for name in tensors if name.startswith('lin')}
    np.savez(tmp_path / 'vgg16.npz', **{k: v for k, v in tensors.items() if k not in linear})
    np.savez(tmp_path / 'vgg.npz', **linear)
    weights = f'--lpips_weights={tmp_path / "vgg16.npz"},{tmp_path / "vgg.npz"}'
    flags = (*FLAGS[:2], weights, '--path_length=z_full', '--seed=6')
    done = launching.call('evaluate', f'--workdir={workdir}', *flags)
    assert done.code == 0, done.err
    [entry] = [e for e in score_log.read(workdir) if e['seed'] == 6]
    assert entry['ppl_z_full'] > 0
    assert (
        entry['fingerprint']
        == path_lengths.distance_for([tmp_path / 'vgg.npz', tmp_path / 'vgg16.npz']).fingerprint
    )
