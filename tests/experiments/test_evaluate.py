"""experiments.evaluate on a run made here, with a classifier of its dataset."""

import json

import numpy as np
import pytest

from osgan_jax.gan import trainer
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


@pytest.mark.parametrize(
    ('flags', 'sentence'),
    [
        (['--workdir=/nowhere'], '/nowhere holds no run'),
        (['--step=3'], 'step 3'),
        (['--step=2', '--all'], '--step, --all and --best exclude each other'),
        (['--best'], 'holds no run'),
    ],
)
def test_what_is_not_there_is_one_sentence(workdir, flags, sentence):
    done = launching.call('evaluate', f'--workdir={workdir}', *flags)
    assert done.code == 1
    assert done.err.startswith('error: ')
    assert len(done.err.splitlines()) == 1
    assert sentence in done.err
