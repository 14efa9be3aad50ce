"""experiments.evaluate on a run made here, with a classifier of its dataset."""

import dataclasses
import json

import numpy as np
import pytest

from osgan_jax.evaluation import evaluators, score_log
from osgan_jax.evaluation.features import extractors
from osgan_jax.gan import sampling, trainer
from osgan_jax.pretrained import export
from tests.support import launching, small


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp('evaluate')
    dataset = small.dataset()
    np.savez(
        folder / 'small.npz',
        images=np.stack([dataset[i]['image'] for i in range(len(dataset))]),
        labels=np.array([dataset[i]['label'] for i in range(len(dataset))]),
    )
    config = small.make_config(
        dataset='npz',
        data_dir=str(folder / 'small.npz'),
        num_steps=4,
        save_every=2,
        log_every=2,
    )
    trainer.train(config, folder / 'run')
    return folder / 'run'


@pytest.mark.slow
def test_every_checkpoint_is_scored_once(workdir, tmp_path):
    flags = (f'--workdir={workdir}', '--num_samples=32', f'--cache_dir={tmp_path}')
    done = launching.call('evaluate', *flags, '--all', '--metrics=fid,kid,is')
    assert done.code == 0, done.err
    assert 'compare only with numbers of the same one' in done.out
    lines = (workdir / 'evaluations.jsonl').read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert [entry['step'] for entry in entries] == [2, 4]
    for entry in entries:
        assert entry['classifier_fd'] > 0
        assert 1 <= entry['classifier_is'] <= small.CLASSES
        assert entry['num_samples'] == 32
    assert (workdir / 'evaluations.png').exists()
    # Again: nothing is scored anew; a further metric is added to its line.
    done = launching.call('evaluate', *flags, '--metrics=fid')
    assert done.code == 0, done.err
    assert 'step 4' in done.out
    assert 'scored before' in done.out
    done = launching.call('evaluate', *flags, '--metrics=pr', '--step=2')
    assert 'scored before' not in done.out
    entries = [json.loads(x) for x in (workdir / 'evaluations.jsonl').read_text().splitlines()]
    assert [('classifier_recall' in entry) for entry in entries] == [True, False]
    assert 'classifier_fd' in entries[0]


def _see(images):
    quarters = images.reshape(len(images), 2, 8, 2, 8).mean((2, 4)).reshape(-1, 4) / 255
    return extractors.Features(quarters, 5 * quarters)


def test_an_unknown_metric_costs_no_classifier(workdir, monkeypatch):
    monkeypatch.setattr(evaluators, 'extractor_for', lambda *unused, **options: 1 / 0)
    done = launching.call('evaluate', f'--workdir={workdir}', '--metrics=classifier_fd')
    assert done.code == 1
    assert done.err.startswith('error: metrics: expected some of fid, kid, is, pr, modes, gan_test')
    assert "got 'classifier_fd'" in done.err


def test_all_checkpoints_of_an_export_are_its_one(workdir, quarters, tmp_path):
    folder = export.export(workdir, 'npz', out=tmp_path / 'e', step=2)
    flags = ('--all', '--metrics=fid', '--num_samples=8', f'--cache_dir={tmp_path}')
    done = launching.call('evaluate', f'--workdir={folder}', *flags)
    assert done.code == 0, done.err
    entries = [json.loads(x) for x in (folder / 'evaluations.jsonl').read_text().splitlines()]
    assert [entry['step'] for entry in entries] == [2]


@pytest.fixture
def quarters(monkeypatch):
    """Features that need no training."""
    extractor = extractors.Extractor('classifier', 'quarters', 'f00df00d', _see)
    monkeypatch.setattr(evaluators, 'extractor_for', lambda *unused, **options: extractor)


@pytest.fixture
def edited(workdir):
    """Replaces what the run records of its images, for a test's time."""
    path = workdir / 'config.json'
    before = path.read_text()

    def edit(**changes):
        body = json.loads(before)
        body['dataset']['source'] |= changes
        if not changes:
            del body['dataset']['source']
        path.write_text(json.dumps(body))

    yield edit
    path.write_text(before)


def score(workdir, tmp_path, *flags):
    return launching.call(
        'evaluate',
        f'--workdir={workdir}',
        '--num_samples=24',
        '--metrics=fid,is',
        f'--cache_dir={tmp_path}',
        *flags,
    )


def test_a_score_has_its_direction_and_what_halves_of_the_real_images_have(
    workdir, tmp_path, quarters
):
    done = score(workdir, tmp_path)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    (head,) = [line for line in lines if line.startswith('step 4: ')]
    assert head == 'step 4: 24 samples against 40 images of npz (train)'
    (line,) = [line for line in lines if line.startswith('  classifier_fd')]
    half = score_log.read(workdir)[-1]['halves']['classifier_fd']
    assert half['count'] == 20
    assert line.endswith(
        f'lower is better; two halves of the real images: {half["value"]:.4g} (20 each)'
    )
    assert 'higher is better' in done.out
    assert 'Protocol: none that is published' in done.out
    assert done.out.count('warning: too few images for a reliable score: 24 samples for') == 1
    assert 'scored before' in score(workdir, tmp_path).out


@pytest.mark.parametrize(
    ('flags', 'learnt'), [((), 'train'), (('--inception_weights=any',), 'test')]
)
def test_both_parts_of_a_dataset_are_scored_by_one_classifier(
    workdir, tmp_path, monkeypatch, flags, learnt
):
    opened = trainer.open_dataset

    def open_part(config):
        whole = opened(dataclasses.replace(config, split='train'))
        return dataclasses.replace(whole, split=config.split)

    small_one = extractors.Extractor('small_classifier', 'quarters', 'f00df00d', _see)
    asked = []
    monkeypatch.setattr(trainer, 'open_dataset', open_part)
    monkeypatch.setattr(
        evaluators, 'extractor_for', lambda part, **options: asked.append(part) or small_one
    )
    done = score(workdir, tmp_path, '--split=test', *flags)
    assert done.code == 0, done.err
    assert [part.split for part in asked] == [learnt]
    assert f'Features of a classifier of npz ({learnt}; f00df00d): compare only' in done.out
    assert 'against 40 images of npz (test)' in done.out


def test_labels_that_cannot_follow_the_data_cost_no_classifier(workdir, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluators, 'extractor_for', lambda *a, **k: pytest.fail('trained'))
    make, classes = sampling.Sampler.__init__, small.CLASSES

    def conditional(self, *arguments):
        make(self, *arguments)
        self.gan = dataclasses.replace(self.gan, num_classes=classes + 1)

    monkeypatch.setattr(sampling.Sampler, '__init__', conditional)
    done = score(workdir, tmp_path)
    assert done.code == 1
    assert (
        f'the generator was trained with {classes + 1} classes and the dataset has {classes}'
        in done.err
    )


def test_a_run_is_not_scored_against_images_that_it_was_not_trained_on(
    workdir, tmp_path, quarters, edited
):
    """As after `train(config, workdir, dataset=from_arrays(...))`, whose config says digits."""
    before = score_log.read(workdir)
    for changes, sentence in [
        (
            {'dataset': 'arrays'},
            "was trained on 40 images called 'arrays' that a program passed as arrays, not on npz: "
            'name what to compare with by --dataset and --data_dir',
        ),
        ({'num_images': 50}, 'it had 50 images and has 40; name what to compare with'),
        (
            {'fingerprint': 'arrays-1:' + 'f' * 64},
            'its images or labels are others (fingerprint arrays-1:fffffff',
        ),
        ({'split': 'test', 'fingerprint': 'arrays-1:0'}, 'its split was test and is train'),
    ]:
        edited(**changes)
        done = score(workdir, tmp_path)
        assert done.code == 1
        assert sentence in done.err
        assert len(done.err.splitlines()) == 1
    # Another part of a dataset that the run was not trained on is not named by its part.
    edited(dataset='arrays')
    done = score(workdir, tmp_path, '--split=test')
    assert done.code == 1
    assert "called 'arrays' that a program passed as arrays, not on npz" in done.err
    assert score_log.read(workdir) == before
    # Whoever names images wants those, and reads that they are others.
    edited(split='test', fingerprint='arrays-1:0')
    same = workdir.parent / 'small.npz'
    done = score(workdir, tmp_path, '--dataset=npz', f'--data_dir={same}')
    assert done.code == 0, done.err
    assert 'Compared with other images than those of training: its split was test' in done.out
    # The same images under another name are the same.
    edited(dataset='arrays')
    done = score(workdir, tmp_path, '--dataset=npz', f'--data_dir={same}')
    assert done.code == 0, done.err
    assert 'images other than' not in done.out
    # A run from before images were recorded is believed, once and aloud.
    edited()
    done = score(workdir, tmp_path, '--again')
    assert done.code == 0, done.err
    assert done.out.count('does not record its images') == 1


def test_scores_are_printed_though_they_cannot_be_written(workdir, tmp_path, quarters, monkeypatch):
    def full(*unused):
        raise OSError(28, 'No space left on device', str(workdir))

    monkeypatch.setattr(score_log, 'write', full)
    done = score(workdir, tmp_path, '--again')
    assert (done.code, done.err) == (1, f'error: {workdir}: No space left on device\n')
    assert '  classifier_fd' in done.out


def test_scores_within_classes_need_a_conditional_run(workdir, tmp_path, quarters):
    done = score(workdir, tmp_path, '--per_class')
    assert done.code == 1
    assert 'scores per class need labels: the generator was trained with 0 classes' in done.err


def test_other_real_images_have_a_line_of_their_own(workdir, tmp_path, quarters):
    assert score(workdir, tmp_path).code == 0
    first = score_log.read(workdir)
    with np.load(workdir.parent / 'small.npz') as file:
        np.savez(tmp_path / 'other.npz', images=255 - file['images'], labels=file['labels'])
    done = score(workdir, tmp_path, f'--data_dir={tmp_path / "other.npz"}')
    assert done.code == 0, done.err
    assert 'scored before' not in done.out
    lines = score_log.read(workdir)
    assert len(lines) == len(first) + 1
    assert all(line in lines for line in first)
    (new,) = [line for line in lines if line not in first]
    assert new['content'] not in {line['content'] for line in first}


@pytest.mark.parametrize(
    ('flags', 'sentence'),
    [
        (['--workdir=/nowhere'], '/nowhere holds no run'),
        (['--step=3'], 'step 3'),
        (['--step=2', '--all'], '--step, --all and --best exclude each other'),
        (['--best'], 'best is not there: only training with --eval_every keeps it'),
        (['--convention=tf1'], '--convention has no effect without --inception_weights or --dino'),
        (['--path_length_crop'], '--path_length_crop has no effect without --path_length: leave'),
        (['--lpips_weights=a,b'], '--lpips_weights has no effect without --path_length: leave'),
        (['--classifier=small', '--dinov2_weights=a'], '--classifier has no effect beside other'),
        (['--metrics=', '--nearest=9', '--per_class'], '--per_class has no effect with --metrics='),
        (['--nearest=100001'], 'nearest'),
        (['--metrics='], '--metrics and --path_length are both empty'),
        (['--metrics=', '--classification_accuracy'], 'classification_accuracy needs labels'),
    ],
)
def test_what_is_not_there_is_one_sentence(workdir, flags, sentence):
    done = launching.call('evaluate', f'--workdir={workdir}', *flags)
    assert done.code == 1
    assert done.err.startswith('error: ')
    assert len(done.err.splitlines()) == 1
    assert sentence in done.err


def test_copies_are_looked_for_by_pixels_or_by_the_scores_features(workdir, tmp_path, quarters):
    flags = (f'--workdir={workdir}', f'--cache_dir={tmp_path}', '--nearest=16')
    done = launching.call('evaluate', *flags, '--metrics=')
    assert done.code == 0, done.err
    assert 'Copies: samples as near to one image of npz (train)' in done.out
    assert 'step 4: pixels_copies ' in done.out
    assert (workdir / 'nearest_training.png').exists()
    (entry,) = [line for line in score_log.read(workdir) if 'pixels_copies' in line]
    assert (entry['num_samples'], entry['num_real']) == (16, 40)
    assert 'scored before' in launching.call('evaluate', *flags, '--metrics=').out
    done = score(workdir, tmp_path, '--nearest=16')
    assert 'by classifier, quarters.' in done.out
    assert 'classifier_copies' in done.out
    (entry,) = [line for line in score_log.read(workdir) if 'classifier_copies' in line]
    assert 'classifier_fd' not in entry
