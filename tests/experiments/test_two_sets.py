"""experiments.evaluate --real --fake: what it prints, writes and refuses."""

import json

import numpy as np
import pytest

from osgan_jax.evaluation import evaluators
from osgan_jax.evaluation.features import moments_file
from osgan_jax.evaluation.metrics import frechet, moments
from tests.support import dinov2_reference, launching
from tests.support.quarters import EXTRACTOR

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(2, 20, 5))
ABOUT = {'extractor': 'inception', 'convention': 'torch', 'fingerprint': 'f00d'}


@pytest.fixture(scope='module')
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sets')
    for name, features in zip(('a', 'b'), FEATURES, strict=True):
        moments_file.write(folder / f'{name}.npz', moments.of(features), {**ABOUT, 'dataset': name})
        pictures = RNG.integers(0, 256, (24, 8, 8, 1), dtype=np.uint8)
        labels = np.arange(24) % 2
        np.savez(folder / f'{name}_images.npz', images=pictures, labels=labels)
        np.savez(folder / f'{name}_unlabelled.npz', images=pictures)
    return folder


def call(sets, *flags, real='a.npz', fake='b.npz'):
    files = [f'--{name}={sets / file}' for name, file in (('real', real), ('fake', fake)) if file]
    return launching.call('evaluate', *files, f'--cache_dir={sets / "cache"}', *flags)


def test_statistics_alone_are_compared_without_weights(sets, tmp_path):
    done = call(sets, f'--out={tmp_path / "new" / "scores.json"}')
    assert (done.code, done.err) == (0, '')
    expected = frechet.frechet_distance(*map(moments.of, FEATURES))
    entry = json.loads((tmp_path / 'new' / 'scores.json').read_text())
    assert entry['fid'] == pytest.approx(expected, rel=1e-9)
    assert (entry['dataset'], entry['num_real']) == ('a', 20)
    assert (entry['fake']['dataset'], entry['num_samples']) == ('b', 20)
    assert f'fid  {expected:.4g}  lower is better' in done.out
    assert 'Protocol: none that is published; for that of' in done.out
    assert 'Left out: kid, is, pr, for mean and covariance' in done.out
    assert f'Written: {tmp_path / "new" / "scores.json"}' in done.out


def test_images_are_scored_and_their_statistics_written(sets, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        evaluators, 'extractor_for', lambda *args, **kwargs: asked.append(kwargs) or EXTRACTOR
    )
    both = {'real': 'a_images.npz', 'fake': 'b_images.npz'}
    flags = (f'--save_statistics={tmp_path / "s.npz"}', f'--out={tmp_path / "o.json"}')
    flags += ('--inception_weights=any', '--convention=clean')
    done = call(sets, '--per_class', '--metrics=fid,pr', *flags, **both)
    assert done.code == 0, done.err
    assert asked[0]['convention'] == 'clean'
    assert 'Real: a_images.npz (train): 24 images of 8x8 pixels, 2 classes.' in done.out
    assert 'By class; in brackets, what two halves of its real images have:' in done.out
    entry = json.loads((tmp_path / 'o.json').read_text())
    assert entry['per_class'].keys() == {'0', '1'}
    assert entry['per_class']['1']['num_fake'] == 12
    saved = moments_file.read(tmp_path / 's.npz')
    assert saved.count == 24
    assert saved.about == {**EXTRACTOR.facts(), 'dataset': 'a_images.npz'}
    # They stand for the images.
    again = call(sets, '--metrics=fid', real=str(tmp_path / 's.npz'), fake='b_images.npz')
    assert again.code == 1
    assert 'give the network that produced them, by --inception_weights' in again.err
    weights = ('--metrics=fid', '--inception_weights=any')
    again = call(sets, *weights, real=str(tmp_path / 's.npz'), fake='b_images.npz')
    assert f'classifier_fd  {entry["classifier_fd"]:.4g}' in again.out


ONE_SOURCE = (
    'give either the --workdir of a run, or a --pretrained model, or --real and --fake, two sets'
)


@pytest.mark.parametrize(
    ('flags', 'files', 'sentence'),
    [
        (['--workdir=runs/x'], {}, ONE_SOURCE),
        ([], {'real': None, 'fake': None}, ONE_SOURCE),
        ([], {'real': None}, ONE_SOURCE),
        ([], {'fake': None}, '--real needs a second set of images: give --fake, or'),
        (['--all'], {}, '--all goes with --workdir, and not with --real'),
        (['--num_samples=9'], {}, '--num_samples goes with --workdir, and not with --real'),
        (['--workdir=x', '--out=y'], {'real': None, 'fake': None}, '--out goes with --real, and'),
        (['--label_policy=uniform'], {}, '--label_policy goes with --workdir, and not with'),
        (['--convention=pil'], {}, '--convention has no effect without --inception_weights or'),
        (['--split=test'], {}, '--split and --data_dir need the name of a dataset'),
        (['--save_statistics=x.npz'], {}, 'already holds mean and covariance: --save_stat'),
        (['--metrics=kid'], {}, 'metrics: nothing is left to compute without kid'),
        ([], {'real': 'a_unlabelled.npz'}, 'has no labels to train a classifier on'),
        ([], {'real': 'none.npz'}, 'no file or folder'),
    ],
)
def test_what_does_not_go_together_is_one_sentence(sets, flags, files, sentence):
    done = call(sets, *flags, **files)
    assert done.code == 1
    assert done.err.startswith('error: ')
    assert len(done.err.splitlines()) == 1
    assert sentence in done.err


@pytest.mark.slow
def test_two_folders_are_scored_by_a_network_and_by_a_classifier(sets, tmp_path):
    weights = tmp_path / 'dinov2.npz'
    np.savez(weights, **dinov2_reference.draw(depth=1, width=64, grid=3))
    both = {'real': 'a_images.npz', 'fake': 'b_unlabelled.npz'}
    done = call(sets, f'--dinov2_weights={weights}', '--convention=pil', **both)
    assert done.code == 0, done.err
    assert 'Features: dinov2_1x64, pil' in done.out
    assert 'Left out: is, for these features have no logits.' in done.out
    assert 'fd_dinov2_1x64' in done.out
    done = call(sets, '--metrics=fid,is', **both)
    assert done.code == 0, done.err
    assert 'classifier_is' in done.out
