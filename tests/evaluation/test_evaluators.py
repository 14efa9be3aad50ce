"""Scores of a run's samples against those written out by hand, and what is kept of them."""

import dataclasses
import json
import os
import signal

import jax
import numpy as np
import pytest

from osgan_jax.data import identity
from osgan_jax.engine import runs
from osgan_jax.evaluation import evaluators, score_log, score_plot
from osgan_jax.evaluation.features.extractors import Extractor, Features
from osgan_jax.evaluation.metrics import (
    frechet,
    inception_score,
    kernel,
    modes,
    moments,
    precision_recall,
    registry,
)
from osgan_jax.gan import config, sampling, trainer
from osgan_jax.reporting import figures
from tests.support import holding, small
from tests.support.quarters import EXTRACTOR
from tests.support.quarters import see as _see


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp('run')
    trainer.train(
        small.make_config(num_steps=4, save_every=2, log_every=2), path, dataset=small.dataset()
    )
    return path


def _evaluator(gan, **options):
    options = {'num_samples': 40, 'batch_size': 16, 'metrics': registry.names(), **options}
    return evaluators.Evaluator(gan, small.dataset(), EXTRACTOR, **options)


def test_scores_are_those_of_the_samples(workdir, tmp_path):
    sampler = sampling.Sampler(workdir)
    scored = _evaluator(sampler.gan, cache_dir=tmp_path)
    drawn = [scored._samples.images(sampler.variables, start) for start in (0, 16, 32)]
    images = np.concatenate(drawn)[:40]
    assert images.dtype == np.uint8
    assert len({image.tobytes() for image in images}) == 40
    dataset = small.dataset()
    real = np.asarray(_see(np.stack([dataset[i]['image'] for i in range(len(dataset))])).pooled)
    fake = _see(images)
    pooled = np.asarray(fake.pooled)
    precision, recall = precision_recall.precision_recall(real, pooled)
    order = np.random.default_rng(0).permutation(40)
    found = modes.modes(np.asarray(fake.logits), dataset.class_counts())
    score, deviation = inception_score.inception_score(np.asarray(fake.logits)[order])
    expected = {
        'classifier_fd': frechet.frechet_distance(moments.of(real), moments.of(pooled)),
        'classifier_kd': kernel.kernel_distance(real, pooled)[0],
        'classifier_is': score,
        'classifier_is_std': deviation,
        'classifier_precision': precision,
        'classifier_recall': recall,
        **dict(zip(('classifier_modes', 'classifier_reverse_kl'), found, strict=True)),
    }
    assert scored.left_out == 'Left out: gan_test, for the images have no labels.'
    values = scored(sampler.variables)
    # Subsets of 40 of 40 images do not vary.
    assert values.pop('classifier_kd_std') is None
    assert values == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert {*values, 'classifier_kd_std'} == set(scored.names)
    assert scored(sampler.variables).items() >= values.items()
    assert scored.headline == 'classifier_fd'
    about = scored.about
    assert about['num_real'] == small.EXAMPLES
    assert (about['dataset'], about['split'], about['label_policy']) == ('small', 'train', None)
    assert about['content'] == identity.identify(dataset)['content']


def test_dinov2_has_no_inception_score(workdir, tmp_path):
    sampler = sampling.Sampler(workdir)
    dinov2 = Extractor(
        'dinov2', 'torch', 'd1', lambda x: Features(_see(x).pooled, None), has_logits=False
    )
    options = {'num_samples': 40, 'batch_size': 16, 'metrics': registry.names()}
    scored = evaluators.Evaluator(
        sampler.gan, small.dataset(), dinov2, cache_dir=tmp_path, **options
    )
    assert scored.headline == 'fd_dinov2'
    assert scored.left_out == 'Left out: is, modes, gan_test, for these features have no logits.'
    values = scored(sampler.variables)
    assert set(values) == set(scored.names)
    same = _evaluator(sampler.gan, cache_dir=tmp_path)(sampler.variables)
    assert values['fd_dinov2'] == pytest.approx(same['classifier_fd'], rel=1e-9)


def test_one_extractor_at_a_time(tmp_path):
    with pytest.raises(ValueError, match='--inception_weights and --dinov2_weights exclude'):
        evaluators.extractor_for(small.dataset(), inception_weights='a', dinov2_weights='b')
    with pytest.raises(ValueError, match="unknown convention 'tf1' for DINOv2"):
        evaluators.extractor_for(small.dataset(), dinov2_weights='b.pth', convention='tf1')


def test_names_with_the_inception_network_are_the_fields(workdir, tmp_path):
    sampler = sampling.Sampler(workdir)
    inception = Extractor('inception', 'torch', 'beef', _see)
    scored = evaluators.Evaluator(
        sampler.gan,
        small.dataset(),
        inception,
        metrics=('kid', 'pr'),
        num_samples=8,
        batch_size=8,
        cache_dir=tmp_path,
    )
    assert scored.names == ('kid', 'kid_std', 'precision', 'recall')
    assert scored.headline == 'kid'
    assert set(scored(sampler.variables)) == set(scored.names)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            {'metrics': ('fid', 'lpips')},
            "expected some of fid, kid, is, pr, modes, gan_test, got 'lpips'",
        ),
        ({'metrics': ()}, 'got none'),
        ({'num_samples': 10}, 'num_samples=10: is is not defined for fewer than 20 images'),
    ],
)
def test_wrong_requests_are_refused(workdir, options, message):
    with pytest.raises(ValueError, match=message):
        _evaluator(sampling.Sampler(workdir).gan, **options)


def _entry(**fields):
    values = {'step': 10, 'seconds': 1.5, 'classifier_fd': 3.0, 'fingerprint': 'a'}
    return {**values, 'num_samples': 8, 'seed': 0, **fields}


def test_records_keep_one_line_an_evaluation_in_order(tmp_path):
    score_log.write(tmp_path, _entry(step=20))
    score_log.write(tmp_path, _entry())
    score_log.write(tmp_path, _entry(classifier_fd=2.0))
    score_log.write(tmp_path, _entry(classifier_is=1.5))
    score_log.write(tmp_path, _entry(seed=1))
    lines = score_log.read(tmp_path)
    assert [(line['step'], line['seed']) for line in lines] == [(10, 0), (10, 1), (20, 0)]
    with pytest.raises(ValueError, match='a score needs step, fingerprint, seed and a count'):
        score_log.write(tmp_path, {'step': 30, 'seed': 0, 'num_samples': 8, 'accuracy': 1.0})
    assert score_log.read(tmp_path) == lines
    assert lines[0]['classifier_fd'] == 3.0
    assert lines[0]['classifier_is'] == 1.5
    with open(tmp_path / score_log.FILE, 'a') as file:
        file.write('{"step": 30, "finger')
    assert score_log.read(tmp_path) == lines


def test_a_line_keeps_the_seconds_that_are_known(tmp_path):
    score_log.write(tmp_path, _entry(seconds=None))
    score_log.write(tmp_path, _entry(seconds=1.5))
    score_log.write(tmp_path, _entry(seconds=None, classifier_is=1.5))
    assert score_log.read(tmp_path) == [_entry(classifier_is=1.5)]


def test_the_seconds_of_a_checkpoint_are_those_of_the_runs_log(tmp_path):
    (tmp_path / 'timing.jsonl').write_text('{"step": 20, "seconds": 5.0}\n')
    score_log.write(tmp_path, _entry(seconds=None))
    assert score_log.read(tmp_path) == [_entry(seconds=2.5)]
    score_log.write(tmp_path, _entry())  # as a run that scores itself knows them
    score_log.write(tmp_path, _entry(seconds=None))
    assert score_log.read(tmp_path) == [_entry()]


def test_lines_of_another_version_stay(tmp_path):
    others = ['{"step": "10", "fingerprint": "a", "seed": 0, "num_samples": 8}', '{"v": 2}', '\xff']
    text = ''.join(f'{line}\n' for line in others).encode('latin-1')
    (tmp_path / score_log.FILE).write_bytes(text)
    assert score_log.read(tmp_path) == []
    for step in (20, 10):
        score_log.write(tmp_path, _entry(step=step))
    assert [line['step'] for line in score_log.read(tmp_path)] == [10, 20]
    assert (tmp_path / score_log.FILE).read_bytes().endswith(text)


@pytest.mark.process
def test_a_line_that_another_process_is_writing_is_not_lost(tmp_path):
    path = tmp_path / score_log.FILE
    path.write_text('')
    # As another evaluation does, which has read the file and is about to replace it.
    replace = f'import time; time.sleep(0.5); open({str(path)!r}, "w").write({_line(20)!r})'
    with holding.held(tmp_path / '.evaluations.lock', replace):
        score_log.write(tmp_path, _entry())
    assert [line['step'] for line in score_log.read(tmp_path)] == [10, 20]


def _line(step):
    return json.dumps(_entry(step=step)) + '\n'


def test_whose_images_and_which_labels_make_another_line(tmp_path):
    """A score against the test part does not replace that against the training part."""
    facts = {'dataset': 'npz', 'split': 'train', 'content': 'a', 'num_real': 9, 'convention': 'c'}
    base = _entry(**facts, label_policy='data', halves={'classifier_fd': {'value': 1, 'count': 4}})
    old = _entry(dataset='npz', num_real=9, convention='c')
    others = [{**base, name: 'other'} for name in ('dataset', 'split', 'content', 'convention')] + [
        {**base, 'label_policy': 'uniform'},
        {**base, 'num_real': 8},
        {**base, 'num_samples': 9},
    ]
    for entry in (old, base, *others):
        score_log.write(tmp_path, entry)
    lines = score_log.read(tmp_path)
    assert len(lines) == 9
    assert all(entry in lines for entry in (old, base, *others))
    # Another metric extends its line, and the halves in it.
    score_log.write(
        tmp_path,
        {**base, 'halves': {'classifier_is': {'value': 2, 'count': 4}}, 'classifier_is': 1},
    )
    (line,) = [line for line in score_log.read(tmp_path) if 'classifier_is' in line]
    assert set(line['halves']) == {'classifier_fd', 'classifier_is'}
    assert score_log.metric_names(line) == ['classifier_fd', 'classifier_is']


def test_a_plot_says_in_what_series_differ(tmp_path, monkeypatch):
    base = _entry(dataset='npz', split='train', content='abcdefgh', num_real=9)
    base |= {'halves': {'classifier_fd': {'value': 0.5, 'count': 4}}}
    monkeypatch.setattr(figures, 'save_figure', lambda figure, path: drawn.append(figure))
    drawn = []
    entries = [base, {**base, 'split': 'test', 'content': 'b', 'num_real': 4}]
    for entry in entries:
        score_log.write(tmp_path, entry)
    score_plot.draw(tmp_path)
    for entry in entries:
        score_log.write(tmp_path, {**entry, 'step': 20, 'classifier_fd': 2.0})
    score_plot.draw(tmp_path)
    # Of one checkpoint a dot a series, of several a line, and halves beside each.
    rows, curves = (figure.axes[0] for figure in drawn)
    assert [text.get_text() for text in rows.texts] == ['3  train', '3  test']
    assert rows.get_title(loc='left') == (
        'classifier_fd: lower is better; dashed: halves of the real images, 0.5'
    )
    assert [text.get_text() for text in curves.get_legend().texts] == ['train', 'test']
    dashed = [line for line in curves.lines if line.get_linestyle() == '--']
    assert [line.get_ydata()[0] for line in dashed] == [0.5, 0.5]


def test_records_are_drawn(tmp_path):
    assert score_plot.draw(tmp_path) is None
    for step in (10, 20):
        score_log.write(tmp_path, _entry(step=step, classifier_kd=0.1, classifier_kd_std=1))
        score_log.write(tmp_path, _entry(step=step, num_samples=99))
    assert score_log.metric_names(_entry(x_std=1)) == ['classifier_fd']
    assert score_plot.draw(tmp_path).stat().st_size > 1000


@pytest.mark.parametrize('steps', [(10,), (10, 20)])
def test_numbers_that_are_not_finite_are_recorded_and_left_out_of_the_plot(tmp_path, steps):
    infinite, named = float('inf'), 'Infinity'
    for step in steps:
        halves = {'classifier_fd': {'value': -infinite, 'count': 4}}
        entry = _entry(step=step, reverse_kl=infinite, dataset=named, halves=halves)
        score_log.write(tmp_path, entry)
        assert score_log.read(tmp_path)[-1] == entry

    def refuse(constant):
        raise AssertionError(f'{constant} is not JSON')

    for line in (tmp_path / score_log.FILE).read_text().splitlines():
        assert json.loads(line, parse_constant=refuse)['reverse_kl'] == named
    assert score_plot.draw(tmp_path).stat().st_size > 1000


# While a run trains


@pytest.fixture
def quarters(monkeypatch):
    monkeypatch.setattr(evaluators, 'extractor_for', lambda *args, **kwargs: EXTRACTOR)


def test_training_evaluates_and_keeps_the_best(tmp_path, quarters, capsys):
    fields = {'eval_every': 2, 'eval_samples': 32, 'log_every': 2, 'save_every': 2, 'keep': 1}
    trainer.train(small.make_config(num_steps=6, **fields), tmp_path, dataset=small.dataset())
    lines = score_log.read(tmp_path)
    assert [line['step'] for line in lines] == [2, 4, 6]
    assert lines[0]['seconds'] < lines[1]['seconds'] < lines[2]['seconds']
    best = min(lines, key=lambda line: line['classifier_fd'])
    kept = sampling.Sampler(tmp_path / 'best')
    assert kept.step == best['step']
    # The kept checkpoint is the one that was scored.
    score = _evaluator(kept.gan, num_samples=32, batch_size=256, metrics=('fid',))
    assert score(kept.variables)['classifier_fd'] == pytest.approx(best['classifier_fd'], rel=1e-9)
    assert 'the best so far' in capsys.readouterr().out
    assert (tmp_path / score_plot.FILE).exists()


@pytest.mark.slow
def test_interrupted_evaluations_are_the_same(tmp_path, quarters):
    fields = {'eval_every': 2, 'eval_samples': 16, 'log_every': 2, 'save_every': 2}
    for name, ends in (('whole', (6,)), ('parts', (2, 6))):
        for end in ends:
            trainer.train(
                small.make_config(num_steps=end, **fields),
                tmp_path / name,
                dataset=small.dataset(),
            )
    whole, parts = (score_log.read(tmp_path / name) for name in ('whole', 'parts'))
    for one, other in zip(whole, parts, strict=True):
        assert {**one, 'seconds': 0} == {**other, 'seconds': 0}
    assert sampling.Sampler(tmp_path / 'whole/best').step == (
        sampling.Sampler(tmp_path / 'parts/best').step
    )


def _train_and_score(workdir):
    fields = {'num_steps': 2, 'eval_every': 2, 'eval_samples': 300, 'log_every': 2}
    return trainer.train(small.make_config(**fields), workdir, dataset=small.dataset())


def test_an_evaluation_given_up_is_made_up_for(tmp_path, quarters, monkeypatch):
    """At the last step, and although somebody scored that checkpoint in the meantime."""

    def see(images):
        if len(images) == 256:  # the first of its samples
            os.kill(os.getpid(), signal.SIGTERM)
        return _see(images)

    with monkeypatch.context() as patched:
        extractor = dataclasses.replace(EXTRACTOR, apply=see)
        patched.setattr(evaluators, 'extractor_for', lambda *args, **kwargs: extractor)
        with pytest.raises(trainer.Stopped, match=r'Stopped at step 2 of 2; saved\.'):
            _train_and_score(tmp_path)
    assert score_log.read(tmp_path) == []
    other = _entry(step=2, num_samples=99)
    score_log.write(tmp_path, other)
    assert int(_train_and_score(tmp_path).state.step) == 2
    lines = score_log.read(tmp_path)
    assert [line['num_samples'] for line in lines] == [99, 300]
    assert sampling.Sampler(tmp_path / 'best').step == 2
    # Once is enough.
    monkeypatch.setattr(evaluators.Evaluator, '__call__', lambda *unused: pytest.fail('again'))
    _train_and_score(tmp_path)


@pytest.mark.slow
def test_the_best_checkpoint_is_scored_anew_before_another_takes_its_place(tmp_path, quarters):
    fields = {'num_steps': 6, 'eval_every': 2, 'log_every': 2, 'save_every': 2}
    for samples in (32, 48):
        config = small.make_config(**fields, eval_samples=samples)
        trainer.train(config, tmp_path, dataset=small.dataset())
        lines = score_log.read(tmp_path)
        if samples == 32:
            best = min(lines, key=lambda line: line['classifier_fd'])['step']
            assert best < 6, 'choose another seed'
    # A finished run is asked for other scores: those of its best checkpoint and of its last one.
    new = {line['step']: line['classifier_fd'] for line in lines if line['num_samples'] == 48}
    assert new.keys() == {best, 6}
    assert sampling.Sampler(tmp_path / 'best').step == min(new, key=new.get)


@pytest.mark.slow
def test_a_best_checkpoint_that_cannot_be_read_is_named(tmp_path, quarters, capsys):
    fields = {'num_steps': 4, 'eval_every': 2, 'log_every': 2, 'save_every': 2}
    train = lambda samples: trainer.train(  # noqa: E731
        small.make_config(**fields, eval_samples=samples), tmp_path, dataset=small.dataset()
    )
    train(32)
    (step,) = (tmp_path / 'best' / 'checkpoints').iterdir()
    if step.name == '4':
        step = step.rename(step.with_name('2'))
    (step / 'manifest' / 'metadata').unlink()
    train(48)
    assert 'warning: the best checkpoint so far cannot be scored' in capsys.readouterr().out
    assert sampling.Sampler(tmp_path / 'best').step == 4


@pytest.mark.slow
def test_other_scores_of_the_same_samples_do_not_count(tmp_path, quarters):
    """As `experiments.evaluate --metrics=kid` writes them beside a run that trains."""
    fields = {'eval_every': 2, 'eval_samples': 16, 'log_every': 2, 'save_every': 2}
    train = lambda steps: trainer.train(  # noqa: E731
        small.make_config(**fields, num_steps=steps), tmp_path, dataset=small.dataset()
    )
    train(2)
    lines = score_log.read(tmp_path)
    (tmp_path / score_log.FILE).unlink()
    for line in lines:
        line['classifier_kd'] = line.pop('classifier_fd')
        score_log.write(tmp_path, line)
    train(4)
    lines = score_log.read(tmp_path)
    assert [(line['step'], 'classifier_fd' in line) for line in lines] == [(2, True), (4, True)]
    assert 'classifier_kd' in lines[0]


@pytest.mark.slow
def test_a_step_is_scored_again_where_its_checkpoint_was_not_kept(tmp_path, quarters, monkeypatch):
    from osgan_jax.gan import best_checkpoint

    def full(*unused):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patched:
        patched.setattr(best_checkpoint.BestCheckpoint, '_keep', full)
        with pytest.raises(OSError, match='No space'):
            _train_and_score(tmp_path)
    assert score_log.read(tmp_path) == []
    _train_and_score(tmp_path)
    assert sampling.Sampler(tmp_path / 'best').step == 2


@pytest.mark.slow
def test_time_given_ends_a_run_and_is_not_given_twice(tmp_path, capsys):
    fields = {'num_steps': 10**6, 'log_every': 7, 'max_seconds': 0.3}
    first = trainer.train(small.make_config(**fields), tmp_path, dataset=small.dataset())
    steps = int(first.state.step)
    assert 1 < steps < 10**5
    rows = [json.loads(line) for line in (tmp_path / 'timing.jsonl').read_text().splitlines()]
    assert rows[-1]['seconds'] >= 0.1
    assert sampling.Sampler(tmp_path).step == steps
    assert (tmp_path / 'samples' / f'step_{steps:07d}.png').exists()
    again = trainer.train(small.make_config(**fields), tmp_path, dataset=small.dataset())
    out = capsys.readouterr().out
    assert out.count(f'Step {steps:,} is the last: 0.3 s of training are over.') == 1
    assert 'Already trained' in out
    assert int(again.state.step) == steps
    longer = dict(fields, max_seconds=0.6)
    more = trainer.train(small.make_config(**longer), tmp_path, dataset=small.dataset())
    assert int(more.state.step) > steps


def test_evaluations_fall_on_calls():
    with pytest.raises(ValueError, match='eval_every=3: expected a multiple of steps_per_call=2'):
        config.TrainConfig(steps_per_call=2, eval_every=3)


def test_set_without_labels_needs_inception_weights(tmp_path):
    from osgan_jax import data

    unlabelled = data.from_arrays(np.zeros((8, 16, 16, 1), np.uint8), name='none')
    with pytest.raises(ValueError, match='--inception_weights'):
        trainer.train(small.make_config(eval_every=2, num_steps=2), tmp_path, dataset=unlabelled)
    run = runs.read(tmp_path, config.TrainConfig)
    assert run is None or not list((tmp_path / 'checkpoints').iterdir())


def test_several_processes_evaluate_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    with pytest.raises(ValueError, match='several processes cannot evaluate during training'):
        trainer.GANJob(small.make_config(eval_every=2), tmp_path, small.dataset()).open()
