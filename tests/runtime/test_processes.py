"""Several processes: two on loopback with two CPU devices each, against one with four."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import chex
import jax
import numpy as np
import pytest

from osgan_jax.engine import checkpoints
from osgan_jax.gan import model, sampling, trainer
from osgan_jax.runtime import processes, shards
from tests.support import ROOT, small

SPECK = {'rtol': 1e-5, 'atol': 1e-5}
# SGD: Adam divides by roots of gradients, and makes the rounding of nearly zero ones large. With
# rows in the wrong order, parameters differ by several times this tolerance.
FIELDS = {
    'dataset': 'npz',
    'image_size': small.SIZE,
    'width': 4,
    'latent_dim': 6,
    'batch_size': small.BATCH,
    'num_samples': 4,
    'optimizer': 'sgd',
    'beta1': 0.0,
    'learning_rate_g': 0.01,
    'learning_rate_d': 0.01,
    'log_every': 1,
    'sample_every': 4,
    'save_every': 4,
}


@pytest.fixture(scope='module')
def npz(tmp_path_factory):
    dataset = small.dataset()
    pairs = [dataset.source[i] for i in range(len(dataset))]
    path = tmp_path_factory.mktemp('data') / 'small.npz'
    np.savez(path, images=[image for image, _ in pairs], labels=[label for _, label in pairs])
    return path


@pytest.fixture
def launch(npz):
    """Starts `experiments.train`; whatever still runs at the end is killed."""
    started = []

    def start(workdir, *extra, environment=None, **fields):
        flags = {**FIELDS, 'data_dir': npz, 'workdir': workdir, **fields}
        devices = ' --xla_force_host_platform_device_count=2'
        process = subprocess.Popen(
            [
                *(sys.executable, '-m', 'experiments.train'),
                *(f'--{name}={value}' for name, value in flags.items()),
                *extra,
            ],
            cwd=ROOT,
            env={
                **os.environ,
                'PYTHONPATH': str(ROOT),
                'PYTHONUNBUFFERED': '1',
                'XLA_FLAGS': os.environ.get('XLA_FLAGS', '') + devices,
                **(environment or {}),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def flags_of(index, port, count=2):
    return (f'--coordinator=127.0.0.1:{port}', f'--num_processes={count}', f'--process_id={index}')


def launch_two(launch, workdir, **fields):
    port = free_port()
    return [launch(workdir, *flags_of(index, port), **fields) for index in range(2)]


def finish(run, timeout=120):
    """Returns what each process said, once all have ended."""
    return [process.communicate(timeout=timeout)[0] for process in run]


def succeed(run):
    said = finish(run)
    assert [process.returncode for process in run] == [0] * len(run), '\n'.join(said)
    return said


def own_words(said):
    """Without what the collectives' library prints when it connects, whose lines run together."""
    connecting = (
        '[Gloo] Rank is connected to peer ranks. Expected number of connected peer ranks is :'
    )
    said = re.sub(r'\d+', ' ', said)
    for phrase in sorted(set(connecting.split()), key=len, reverse=True):
        said = re.sub(rf'(?<![a-zA-Z]){re.escape(phrase)}(?![a-zA-Z])', ' ', said)
    return ' '.join(said.split())


def wait_for_step(run, workdir, step):
    path = workdir / 'metrics.jsonl'
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if path.exists() and path.read_text().count('\n') >= step:
            return
        ended = [process for process in run if process.poll() is not None]
        assert not ended, finish(ended)
        time.sleep(0.01)
    raise TimeoutError(f'{path} did not reach step {step}')


def train_here(workdir, npz, **fields):
    """The same run as `launch`'s in this process, with its four devices."""
    config = small.make_config(**{**FIELDS, 'data_dir': str(npz), 'num_devices': 4, **fields})
    return trainer.train(config, workdir)


def restored(workdir):
    gan = sampling.Sampler(workdir).gan
    like = jax.eval_shape(lambda: model.create(gan, 0))
    with checkpoints.Checkpoints(workdir, read_only=True) as saved:
        return saved.restore(like)


def parameters(state):
    return jax.device_get((state.params_g, state.params_d))


def steps_of(workdir):
    lines = (workdir / 'metrics.jsonl').read_text().splitlines()
    return [json.loads(line)['step'] for line in lines]


# --- fast -----------------------------------------------------------------------------------


def test_two_processes_of_two_devices_train_like_one_of_four(tmp_path, npz, launch):
    # A loss of pairs of a real and a fake image: the order of rows matters too.
    fields = {'num_steps': 6, 'method': 'relgan'}
    run = launch_two(launch, tmp_path / 'two', **fields)
    whole = train_here(tmp_path / 'one', npz, **fields)
    first, second = succeed(run)
    assert '4 cpu, in 2 processes' in first
    assert first.count('Done:') == 1
    assert own_words(second) == ''
    assert 'warning' not in first.lower()
    assert steps_of(tmp_path / 'two') == [1, 2, 3, 4, 5, 6]
    names = [[p.name for p in sorted((tmp_path / n / 'samples').iterdir())] for n in ('one', 'two')]
    assert names[0] == names[1]
    assert len(list((tmp_path / 'two' / 'tensorboard').iterdir())) == 1
    got = restored(tmp_path / 'two')
    assert got.step == 6
    chex.assert_trees_all_close(parameters(got.state), parameters(whole.state), **SPECK)


@pytest.mark.slow
def test_devices_of_each_process_divide_the_state(tmp_path, npz, launch):
    # Wide enough for tensors worth dividing.
    fields = {'num_steps': 4, 'method': 'relgan', 'width': 64, 'ema_decay': 0.9}
    run = launch_two(launch, tmp_path / 'two', shard_state=True, **fields)
    whole = train_here(tmp_path / 'one', npz, **fields)
    first, _ = succeed(run)
    assert 'in 2 processes, which divide large tensors of the state' in first
    got = restored(tmp_path / 'two')
    assert shards.has_any(shards.divide(got.state, 2, model.DIVIDED))
    chex.assert_trees_all_close(parameters(got.state), parameters(whole.state), **SPECK)
    # The same directory, now by one process whose devices divide it otherwise.
    longer = {**fields, 'num_steps': 6}
    shutil.copytree(tmp_path / 'two', tmp_path / 'alone')
    run = launch_two(launch, tmp_path / 'two', **longer)
    alone = train_here(tmp_path / 'alone', npz, shard_state=True, **longer)
    succeed(run)
    got = restored(tmp_path / 'two')
    chex.assert_trees_all_close(parameters(got.state), parameters(alone.state), **SPECK)


def test_a_missing_peer_is_an_error_within_the_timeout(tmp_path, launch):
    port = free_port()
    began = time.monotonic()
    run = [launch(tmp_path / 'run', *flags_of(i, port, 3), peer_timeout=2) for i in (0, 1)]
    for index, said in enumerate(finish(run)):
        assert run[index].returncode == 1
        assert re.search(r'error: .*did not all meet at 127.* within 2 s', said), said
        assert len(said.splitlines()) == 1
    # Starting Python and importing jax takes a while by itself.
    assert time.monotonic() - began < 20
    assert not (tmp_path / 'run').exists()


def test_arguments_of_join_that_do_not_fit_together():
    with pytest.raises(ValueError, match='need a coordinator'):
        processes.join(None, 2, 0)
    for coordinator in ('somewhere', 'host:', 'host:0', 'host:70000', ':80'):
        with pytest.raises(ValueError, match='expected HOST:PORT, or auto'):
            processes.join(coordinator, 2, 0)
    with pytest.raises(ValueError, match='needs --num_processes'):
        processes.join('localhost:1234', 2)
    with pytest.raises(ValueError, match='process_id=2: expected 0 to 1'):
        processes.join('localhost:1234', 2, 2)
    with pytest.raises(ValueError, match='peer_timeout=0'):
        processes.join('localhost:1234', 2, 0, peer_timeout=0)
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f'cannot listen on port {port}.*choose another'):
            processes.join(f'127.0.0.1:{port}', 2, 0)


def test_alone_there_is_nobody_to_wait_for():
    processes.join(None)
    assert processes.is_first()
    assert processes.speaker() == ''
    assert processes.gather(b'own') == [b'own']
    processes.check_same({'seed': 1})
    agreement = processes.Agreement(jax.local_devices(), 10)
    assert [agreement(3, 0), agreement(4, 15)] == [0, 15]
    with pytest.raises(KeyError), processes.all_or_none():
        raise KeyError('own')
    with pytest.raises(jax.errors.JaxRuntimeError), processes.peer_errors():
        raise jax.errors.JaxRuntimeError('Connection refused')


# --- slow -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_and_resumed_is_as_uninterrupted(tmp_path, launch):
    succeed(launch_two(launch, tmp_path / 'whole', num_steps=40))
    run = launch_two(launch, tmp_path / 'parts', num_steps=40)
    wait_for_step(run, tmp_path / 'parts', 9)
    for process in run:
        process.kill()
    finish(run)
    first, _ = succeed(launch_two(launch, tmp_path / 'parts', num_steps=40))
    assert 'resumed' in first
    got, expected = restored(tmp_path / 'parts'), restored(tmp_path / 'whole')
    chex.assert_trees_all_equal(parameters(got.state), parameters(expected.state))
    logs = [(tmp_path / name / 'metrics.jsonl').read_bytes() for name in ('parts', 'whole')]
    assert logs[0] == logs[1]


@pytest.mark.slow
def test_one_process_goes_on_from_what_two_wrote_and_back(tmp_path, npz, launch):
    whole = train_here(tmp_path / 'one', npz, num_steps=12)
    succeed(launch_two(launch, tmp_path / 'two', num_steps=4))
    alone = launch(tmp_path / 'two', num_steps=8, num_devices=1)
    assert 'warning' not in succeed([alone])[0]
    succeed(launch_two(launch, tmp_path / 'two', num_steps=12, num_devices=1))
    got = restored(tmp_path / 'two')
    assert json.loads(got.iterator_state)['step'] == got.step == 12
    chex.assert_trees_all_close(parameters(got.state), parameters(whole.state), **SPECK)
    assert steps_of(tmp_path / 'two') == list(range(1, 13))


@pytest.mark.slow
@pytest.mark.parametrize('signum', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_process_stops_all_at_one_step(tmp_path, launch, signum):
    run = launch_two(launch, tmp_path, num_steps=100_000)
    wait_for_step(run, tmp_path, 9)
    run[1].send_signal(signum)
    first, second = finish(run)
    assert [process.returncode for process in run] == [128 + signum] * 2, first + second
    step = int(re.search(r'Stopped at step (\d+) of 100000; saved', first)[1])
    assert own_words(second) == ''
    assert restored(tmp_path).step == step
    succeed(launch_two(launch, tmp_path, num_steps=step + 2))
    assert steps_of(tmp_path) == list(range(1, step + 3))


@pytest.mark.slow
def test_time_that_was_given_is_not_given_twice(tmp_path, launch):
    fields = {'num_steps': 100_000, 'max_seconds': 0.5}
    succeed(launch_two(launch, tmp_path, **fields))
    step = restored(tmp_path).step
    assert 1 < step < 100_000
    first, second = succeed(launch_two(launch, tmp_path, **fields))
    assert 'Already trained for 0.5 s' in first
    assert own_words(second) == ''
    assert restored(tmp_path).step == step


@pytest.mark.slow
@pytest.mark.parametrize('receivers', [(0,), (1,), (0, 1)], ids=str)
def test_a_signal_while_they_compile_stops_all_at_one_step(tmp_path, launch, receivers):
    run = launch_two(launch, tmp_path, num_steps=100_000)
    deadline = time.monotonic() + 120
    while not (tmp_path / 'config.json').exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for index in receivers:
        run[index].send_signal(signal.SIGTERM)
    first, second = finish(run)
    assert [process.returncode for process in run] == [128 + signal.SIGTERM] * 2, first + second
    step = int(re.search(r'Stopped at step (\d+) of 100000; saved', first)[1])
    assert restored(tmp_path).step == step


@pytest.mark.slow
@pytest.mark.parametrize('killed', [0, 1])
def test_a_peer_that_dies_ends_the_other(tmp_path, launch, killed):
    run = launch_two(launch, tmp_path, num_steps=100_000, peer_timeout=10)
    wait_for_step(run, tmp_path, 9)
    began = time.monotonic()
    run[killed].kill()
    said = finish(run)[1 - killed]
    assert time.monotonic() - began < 15
    assert run[1 - killed].returncode != 0
    assert 'another process of this run is gone' in said or 'another task died' in said, said
    assert 'Traceback' not in said
    step = restored(tmp_path).step
    assert step > 0
    succeed(launch_two(launch, tmp_path, num_steps=step + 4))
    assert restored(tmp_path).step == step + 4


@pytest.mark.slow
def test_a_frozen_peer_ends_the_other_within_the_timeout(tmp_path, launch):
    run = launch_two(launch, tmp_path, num_steps=100_000, peer_timeout=5)
    wait_for_step(run, tmp_path, 2)
    began = time.monotonic()
    run[1].send_signal(signal.SIGSTOP)
    finish(run[:1], timeout=60)
    assert time.monotonic() - began < 15
    assert run[0].returncode != 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'data_dir': 'nowhere.npz'}, 'process 1 cannot go on: .*nowhere.npz'),
        ({'batch_size': 4}, 'batch_size is 8 in process 0 and 4 in process 1'),
    ],
)
def test_what_one_process_cannot_do_ends_all(tmp_path, launch, fields, message):
    port = free_port()
    run = [
        launch(tmp_path, *flags_of(0, port), num_steps=4),
        launch(tmp_path, *flags_of(1, port), **{'num_steps': 4, **fields}),
    ]
    said = finish(run)
    assert [process.returncode for process in run] == [1, 1], said
    assert re.search(f'error: process 0: .*{message}', said[0]), said
    assert 'error: process 1: ' in said[1]
    assert not any('Traceback' in text for text in said)


@pytest.mark.slow
def test_a_cluster_says_by_itself_who_is_who(tmp_path, launch):
    def slurm(index):
        # What srun sets; the job's number chooses the port.
        return {
            'SLURM_JOB_ID': str(free_port() % 2**12) if not index else slurm.job,
            'SLURM_STEP_NODELIST': 'localhost',
            'SLURM_NTASKS': '2',
            'SLURM_PROCID': str(index),
            'SLURM_LOCALID': '0',
        }

    first = slurm(0)
    slurm.job = first['SLURM_JOB_ID']
    run = [
        launch(tmp_path, '--coordinator=auto', num_steps=4, environment=environment)
        for environment in (first, slurm(1))
    ]
    said = succeed(run)
    assert '4 cpu, in 2 processes' in said[0]
    alone = launch(tmp_path, '--coordinator=auto', num_steps=4)
    (text,) = finish([alone])
    assert alone.returncode == 1
    assert 'no cluster that jax knows' in text
