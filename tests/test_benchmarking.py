"""The benchmark's report: what it counts, never how fast."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import small

from osgan_jax import benchmarking, config

ROOT = pathlib.Path(__file__).parents[1]


def test_schemes_are_measured_on_the_same_step():
    timings = benchmarking.measure(small.make_config(method='sngan'), repeats=2)
    assert [t.scheme for t in timings] == list(config.SCHEMES)
    for timing in timings:
        assert 0 < timing.low <= timing.seconds <= timing.high
        assert timing.compile_seconds > 0
    flops = {t.scheme: t.flops for t in timings}
    # 3 Tg + 6 Td, 3 Tg + 7 Td, 4 Tg + 8 Td.
    assert flops['one_stage'] < flops['shared_forward'] < flops['two_stage']
    assert flops['two_stage'] / flops['one_stage'] < 1.45


def test_repeats_are_checked():
    with pytest.raises(ValueError, match='repeats=0'):
        benchmarking.measure(small.make_config(), repeats=0)


def test_module_prints_a_table_and_writes_json(tmp_path):
    out = tmp_path / 'new' / 'result.json'
    command = [sys.executable, '-m', 'experiments.benchmark', f'--out={out}', '--repeats=1']
    done = subprocess.run(
        [*command, '--image_size=16', '--width=4', '--batch_size=4', '--num_devices=1'],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == list(config.SCHEMES)
    body = json.loads(out.read_text())
    assert body['machine']['platform'] == 'cpu'
    assert body['config']['width'] == 4
    assert [t['scheme'] for t in body['timings']] == list(config.SCHEMES)
