"""Models of the package in the commands that read a run, and in no other."""

import pytest
from PIL import Image

from osgan_jax.engine import runs
from osgan_jax.gan.config import TrainConfig
from tests.support import launching


def test_a_first_picture_in_the_current_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = launching.call('sample', '--pretrained=digits')
    assert done.code == 0, done.err
    assert done.out.startswith('digits: Handwritten digits by class, 16 x 16 pixels, grey; of ')
    assert 'Wrote grid.png to pretrained-digits/generated, from step 2500.' in done.out
    with Image.open(tmp_path / 'pretrained-digits' / 'generated' / 'grid.png') as image:
        assert image.size[0] > 16 * 10  # a column for each class
    done = launching.call(
        'edit', '--pretrained=digits', '--sheet=interpolate_classes,gradients', '--rows=1',
        '--columns=2', '--frames=2', '--classes=3,8', '--gradient_samples=1',
    )  # fmt: skip
    assert done.code == 0, done.err
    edits = {path.name for path in (tmp_path / 'pretrained-digits' / 'edits').iterdir()}
    assert edits == {'interpolate_classes.png', 'interpolate_classes.webp', 'gradients.png'}


def test_images_outside_of_the_package_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = launching.call('evaluate', '--pretrained=cifar10', '--num_samples=4')
    assert done.code == 1
    assert 'not part of the package: give cifar10_train.npz by --data_dir' in done.err


def test_copies_are_looked_for_and_a_classifier_learns_from_samples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ('--metrics=', '--nearest=4', '--classification_accuracy', '--classifier=small')
    for again in (False, True):
        done = launching.call('evaluate', '--pretrained=digits', '--num_samples=100', *flags)
        assert done.code == 0, done.err
        assert 'step 2,500: classification_accuracy 0.' in done.out
        assert done.out.count('(scored before') == 2 * again
    files = {path.name for path in (tmp_path / 'pretrained-digits').iterdir()}
    files -= {'.evaluations.lock'}
    assert files == {'nearest_training.png', 'evaluations.jsonl', 'evaluations.png'}


@pytest.mark.slow
def test_a_model_is_scored_as_its_card_says_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ('--metrics=pr', '--num_samples=64', '--classifier=small', '--label_policy=uniform')
    done = launching.call('evaluate', '--pretrained=digits', f'--cache_dir={tmp_path}/c', *flags)
    assert done.code == 0, done.err
    assert 'step 2,500: 64 samples, uniform labels against 1,500 images of digits' in done.out
    assert (tmp_path / 'pretrained-digits' / 'evaluations.jsonl').exists()


@pytest.mark.slow
def test_a_run_begins_with_a_model(tmp_path):
    more = tmp_path / 'more'
    flags = ('--num_devices=1', '--num_samples=4', '--batch_size=8', '--num_steps=1')
    done = launching.call('train', '--init_from=pretrained:digits', f'--workdir={more}', *flags)
    assert done.code == 0, done.err
    assert 'pretrained:digits, step 2,500' in done.out
    run = runs.read(more, TrainConfig)
    # Wherever the package lies then.
    assert run.config.init_from == run.origin['workdir'] == 'pretrained:digits'


@pytest.mark.parametrize(
    ('command', 'sentence'),
    [
        ('sample --pretrained=dogs', "pretrained='dogs': expected one of "),
        ('sample --pretrained=digits --workdir=w', '--workdir and --pretrained exclude each other'),
        ('sample --workdir=pretrained:digits', '--pretrained=digits reads it in place of a --work'),
        ('sample --pretrained=digits --label=10', '10'),
        ('sample --pretrained=stacked_digits --label=3', 'was not trained with labels'),
        ('sample --pretrained=digits --step=7', 'pretrained:digits is an export of step 2500'),
        ('edit --pretrained=digits --workdir=w --sheet=truncation', 'exclude each other'),
        ('evaluate --pretrained=digits --workdir=w', 'give either the --workdir of a run, or a'),
        ('evaluate --pretrained=digits --best', '--best and --all go with --workdir'),
        ('train --workdir=pretrained:digits', 'is a model of this package, not a folder'),
        ('train --fork=pretrained:digits --workdir=w', 'is a model of this package, not a folder'),
        ('train --init_from=pretrained:dogs --workdir=w', "pretrained='dogs': expected one of "),
        ('compress --teacher=pretrained:dogs --workdir=w', "pretrained='dogs': expected one of "),
    ],
)
def test_what_makes_no_sense_is_one_sentence(tmp_path, monkeypatch, command, sentence):
    monkeypatch.chdir(tmp_path)
    module, *flags = command.split()
    done = launching.call(module, *flags)
    assert done.code == 1
    assert done.err.startswith('error: ')
    assert len(done.err.splitlines()) == 1
    assert sentence in done.err
    assert not any(tmp_path.iterdir())
