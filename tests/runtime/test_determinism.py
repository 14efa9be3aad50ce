"""Equal runs are equal to the bit, and what a GPU is told so that they are there too."""

import json
import os
import subprocess
import sys

import chex
import jax
import numpy as np
import pytest

from osgan_jax.engine import adoption, summary
from osgan_jax.engine.checkpoints import quiet_orbax
from osgan_jax.gan import trainer
from osgan_jax.runtime import settings
from tests.support import ROOT, small

STEPS = 6
FLAGS = {
    'batch_size': 8,
    'width': 4,
    'latent_dim': 6,
    'num_samples': 4,
    'num_devices': 1,
    'num_steps': STEPS,
    'log_every': 2,
    'sample_every': 4,
    'save_every': 4,
    'image_size': 16,
}


def written(workdir, step):
    """What must be the same: the arrays of a checkpoint, its logs and its pictures."""
    arrays = workdir / 'checkpoints' / str(step) / 'arrays'
    samples = sorted((workdir / 'samples').iterdir())
    files = [workdir / 'metrics.jsonl', workdir / 'curves.png', *samples]
    assert len(samples) > 1
    return (
        quiet_orbax.load().PyTreeCheckpointer().restore(arrays),
        {path.name: path.read_bytes() for path in files},
    )


def check_same(first, second):
    (arrays, files), (others, other_files) = first, second
    assert len(arrays) > 10
    chex.assert_trees_all_equal_comparator(
        lambda a, b: a.dtype == b.dtype and a.tobytes() == b.tobytes(),
        lambda a, b: f'{np.sum(a != b)} of {a.size} numbers differ',
        arrays,
        others,
    )
    assert files == other_files


def test_two_runs_in_one_process_are_identical(tmp_path):
    config = small.make_config(num_steps=2, log_every=1, sample_every=2, ema_decay=0.9)
    for name in 'ab':
        trainer.train(config, tmp_path / name, dataset=small.dataset())
    check_same(*(written(tmp_path / name, 2) for name in 'ab'))


# --- processes of their own --------------------------------------------------------------------


def launch(module, workdir, hash_seed, devices=1, **fields):
    """Runs an experiment; nothing that it compiles is taken from, or left for, another."""
    flags = {'workdir': workdir, 'compilation_cache': 'off', **fields}
    count = f' --xla_force_host_platform_device_count={devices}'
    done = subprocess.run(
        [
            *(sys.executable, '-m', f'experiments.{module}'),
            *(f'--{name}={value}' for name, value in flags.items()),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            'PYTHONPATH': str(ROOT),
            'PYTHONHASHSEED': str(hash_seed),
            'JAX_ENABLE_COMPILATION_CACHE': 'false',
            'XLA_FLAGS': os.environ.get('XLA_FLAGS', '') + count,
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope='module')
def npz(tmp_path_factory):
    path = tmp_path_factory.mktemp('data') / 'images.npz'
    labels = np.arange(40) % 4
    noise = np.random.default_rng(0).integers(0, 60, (40, 16, 16, 1))
    images = (noise + 60 * labels[:, None, None, None]).astype(np.uint8)
    np.savez(path, images=images, labels=labels)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    'fields',
    [
        {'scheme': 'one_stage'},
        {'scheme': 'two_stage', 'num_workers': 2},
        {'scheme': 'shared_forward', 'steps_per_call': 2},
        {'method': 'sngan', 'precision': 'bfloat16', 'augment': 'color,translation,cutout'},
        {'devices': 4, 'num_devices': 4, 'method': 'cgan'},
        {'method': 'stylegan2', 'image_size': 8, 'width': 8, 'latent_dim': 8},
        {'method': 'biggan', 'image_size': 32, 'upscale': True, 'width': 2, 'latent_dim': 12},
    ],
    ids=lambda fields: '-'.join(map(str, fields.values())),
)
def test_two_processes_leave_identical_runs(tmp_path, npz, fields):
    data = {'dataset': 'npz', 'data_dir': npz}
    for hash_seed in (1, 2):
        launch('train', tmp_path / str(hash_seed), hash_seed, **{**FLAGS, **data, **fields})
    check_same(*(written(tmp_path / name, STEPS) for name in '12'))


@pytest.mark.slow
def test_two_compressions_leave_identical_runs(tmp_path, npz):
    data = {'dataset': 'npz', 'data_dir': npz}
    teacher = tmp_path / 'teacher'
    launch('train', teacher, 0, **{**FLAGS, **data, 'method': 'dcgan', 'num_steps': 4})
    flags = {name: FLAGS[name] for name in ('num_devices', 'log_every', 'sample_every')}
    stages = {'stage_one_kimg': 0.032, 'stage_two_kimg': 0.032, 'teacher': teacher}
    for hash_seed in (1, 2):
        launch('compress', tmp_path / str(hash_seed), hash_seed, **flags, **stages, **data)
    check_same(*(written(tmp_path / name, 8) for name in '12'))


# --- the flag ----------------------------------------------------------------------------------


@pytest.fixture
def not_started(monkeypatch):
    """As before jax is used for the first time."""
    monkeypatch.setattr(settings, '_jax_has_started', lambda: False)
    monkeypatch.delenv('XLA_FLAGS')  # and what is set from here on is undone
    return monkeypatch


def test_flags_are_added_once_to_those_that_are_there(not_started):
    not_started.setenv('XLA_FLAGS', '--xla_gpu_autotune_level=4 --xla_dump_to=x')
    assert not settings.is_deterministic()
    for _ in range(2):
        settings.request_determinism()
        assert os.environ['XLA_FLAGS'] == (
            '--xla_gpu_autotune_level=4 --xla_dump_to=x --xla_gpu_deterministic_ops=true'
        )
    assert settings.is_deterministic()
    assert summary.devices(jax.devices()[:1]).endswith(', deterministic')


def test_without_any_flags_both_are_set(not_started):
    not_started.setenv('XLA_FLAGS', '')
    settings.request_determinism()
    assert os.environ['XLA_FLAGS'] == (
        '--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0'
    )


@pytest.mark.parametrize('value', ['false', 'False', '0'])
def test_flags_that_say_the_opposite_are_not_overridden(not_started, value):
    not_started.setenv('XLA_FLAGS', f'--xla_gpu_deterministic_ops={value}')
    with pytest.raises(ValueError, match='remove it there'):
        settings.request_determinism()
    assert os.environ['XLA_FLAGS'] == f'--xla_gpu_deterministic_ops={value}'
    assert not settings.is_deterministic()


def test_too_late_is_an_error_but_on_cpus(not_started):
    not_started.setattr(settings, '_jax_has_started', lambda: True)
    not_started.setenv('XLA_FLAGS', '--xla_dump_to=x')
    settings.request_determinism()
    not_started.setattr(jax, 'default_backend', lambda: 'gpu')
    with pytest.raises(ValueError, match=r'XLA_FLAGS="--xla_gpu_deterministic_ops=true --xla_gpu'):
        settings.request_determinism()
    assert os.environ['XLA_FLAGS'] == '--xla_dump_to=x'
    # Whoever set the flags for the process is right in time.
    not_started.setenv('XLA_FLAGS', '--xla_gpu_deterministic_ops --xla_gpu_autotune_level=0')
    settings.request_determinism()


def test_it_is_asked_for_before_a_job_is_prepared(not_started, tmp_path):
    not_started.setenv('XLA_FLAGS', '--xla_gpu_deterministic_ops=0')
    config = small.make_config(deterministic=True)
    with pytest.raises(ValueError, match='leave out --deterministic'):
        trainer.train(config, tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


def test_a_run_is_deterministic_from_its_first_step_to_its_last_or_not_at_all():
    configs = [small.make_config(deterministic=value) for value in (False, True)]
    assert adoption.contradictions(*configs) == ['deterministic is False there and True now']


def test_whether_jax_has_started():
    code = 'import jax; from osgan_jax.runtime import settings as s; print(s._jax_has_started())'
    started = f'import jax; jax.devices(); {code}'
    for program, expected in ((code, 'False'), (started, 'True')):
        done = subprocess.run(
            [sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected


@pytest.mark.slow
def test_the_flag_is_recorded_and_changes_no_number_of_a_cpu(tmp_path, npz):
    fields = {**FLAGS, 'dataset': 'npz', 'data_dir': npz}
    launch('train', tmp_path / 'without', 1, **fields)
    # XLA refuses to start with a flag it does not know.
    said = launch('train', tmp_path / 'with', 1, **fields, deterministic=True)
    assert ', deterministic' in said
    assert json.loads((tmp_path / 'with' / 'config.json').read_text())['config']['deterministic']
    check_same(*(written(tmp_path / name, STEPS) for name in ('with', 'without')))


@pytest.mark.slow
def test_another_seed_is_another_run(tmp_path, npz):
    for seed in (1, 2):
        fields = {**FLAGS, 'dataset': 'npz', 'data_dir': npz, 'seed': seed}
        launch('train', tmp_path / str(seed), 0, **fields)
    with pytest.raises(AssertionError, match='numbers differ'):
        check_same(*(written(tmp_path / name, STEPS) for name in '12'))
