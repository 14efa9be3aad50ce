"""experiments.train on what exists: the workdir alone, a fork, another run's parameters."""

import json

import numpy as np
import pytest

from tests.support import launching, small


@pytest.fixture(scope='module')
def data_file(tmp_path_factory):
    dataset = small.dataset()
    path = tmp_path_factory.mktemp('data') / 'small.npz'
    images = np.stack([dataset[i]['image'] for i in range(len(dataset))])
    np.savez(path, images=images, labels=np.array([d['label'] for d in dataset]))
    return path


@pytest.fixture(scope='module')
def workdir(tmp_path_factory, data_file):
    path = tmp_path_factory.mktemp('run') / 'a'
    done = launching.call(
        'train',
        f'--workdir={path}',
        *('--dataset=npz', f'--data_dir={data_file}', '--image_size=16', '--method=dcgan'),
        *('--scheme=two_stage', '--width=4', '--latent_dim=6', '--batch_size=8', '--num_steps=2'),
        *('--num_samples=4', '--num_devices=1', '--save_every=1', '--seed=3'),
        *('--schedule=linear', '--nocollapse_alarm'),
    )
    assert done.code == 0, done.err
    return path


def test_the_workdir_alone_resumes(workdir):
    done = launching.call('train', f'--workdir={workdir}')
    assert done.code == 0, done.err
    assert 'Already at step 2, the last one asked for.' in done.out
    done = launching.call('train', f'--workdir={workdir}', '--num_steps=3', '--log_every=1')
    assert done.code == 0, done.err
    assert 'num_steps 2 -> 3' in done.out
    assert 'log_every 10 -> 1' in done.out
    config = json.loads((workdir / 'config.json').read_text())['config']
    assert (config['method'], config['seed'], config['num_steps']) == ('dcgan', 3, 3)
    # Nothing is named but what was asked for: not the schedule that follows from it.
    done = launching.call('train', f'--workdir={workdir}', '--num_steps=9', '--batch_size=4')
    assert done.code == 1
    assert 'another configuration: batch_size is 8 there and 4 now. Leave this out' in done.err


# Both without flags: tests/engine/test_origins.py and tests/gan/test_transfer.py.
@pytest.mark.slow
def test_a_fork_and_a_beginning_by_flags(workdir, data_file, tmp_path):
    done = launching.call(
        'train', f'--fork={workdir}@1', '--learning_rate_d=0.0', f'--workdir={tmp_path / "fork"}'
    )
    assert done.code == 0, done.err
    assert f'from {workdir}, step 1' in ' '.join(done.out.split())
    done = launching.call('train', f'--fork={workdir}@7', f'--workdir={tmp_path / "none"}')
    assert done.code == 1
    assert 'there is no checkpoint of step 7' in done.err
    assert not (tmp_path / 'none').exists()
    done = launching.call(
        'train',
        *(f'--init_from={workdir}', '--dataset=npz', f'--data_dir={data_file}', '--batch_size=8'),
        *('--freeze=discriminator:0,generator:0', '--num_steps=1', '--num_devices=1'),
        f'--workdir={tmp_path / "begun"}',
    )
    assert done.code == 0, done.err
    said = ' '.join(done.out.split())
    assert '10 of 10 tensors of G' in said
    assert 'discriminator:0, generator:0: ' in said
