"""experiments.evaluate on a run made here, with a classifier of its dataset."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from osgan_jax.gan import trainer
from tests.support import ROOT, small


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


def _run(*flags) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, '-m', 'experiments.evaluate', *map(str, flags)],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_every_checkpoint_is_scored_once(workdir, tmp_path):
    flags = (f'--workdir={workdir}', '--num_samples=32', f'--cache_dir={tmp_path}')
    done = _run(*flags, '--all', '--metrics=fid,kid,is')
    assert done.returncode == 0, done.stderr
    assert 'compare only with numbers of the same one' in done.stdout
    lines = (workdir / 'evaluations.jsonl').read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert [entry['step'] for entry in entries] == [2, 4]
    for entry in entries:
        assert entry['classifier_fd'] > 0
        assert 1 <= entry['classifier_is'] <= small.CLASSES
        assert entry['num_samples'] == 32
    assert (workdir / 'evaluations.png').exists()
    # Again: nothing is scored anew; a further metric is added to its line.
    done = _run(*flags, '--metrics=fid')
    assert done.returncode == 0, done.stderr
    assert 'step 4' in done.stdout
    assert 'scored before' in done.stdout
    done = _run(*flags, '--metrics=pr', '--step=2')
    assert 'scored before' not in done.stdout
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
    done = _run(f'--workdir={workdir}', *flags)
    assert done.returncode == 1
    assert done.stderr.startswith('error: ')
    assert len(done.stderr.splitlines()) == 1
    assert sentence in done.stderr
