"""Steps for devices that are not there."""

import dataclasses
import importlib.util
import json
import math

import jax
import pytest

from experiments.benchmark import chips, steps, targets
from tests.support import launching, small

HAS_LIBTPU = importlib.util.find_spec('libtpu') is not None


@pytest.mark.parametrize(
    ('text', 'count'), [('v5e', 1), ('v5e:2x4', 8), ('v4:2x2x1', 8), ('v4', 2), ('h200', 1)]
)
def test_targets_are_chips_and_grids(text, count):
    target = targets.parse(text)
    assert target.count == count
    assert targets.parse(target.name) == target


@pytest.mark.parametrize('text', ['', 'v9', 'v5e:0x4', 'v5e:2x', 'v5e:2x2x2x2'])
def test_other_targets_are_refused(text):
    with pytest.raises(ValueError, match='expected CHIP or CHIP:GRID'):
        targets.parse(text)


def test_a_gpu_has_no_grid_and_no_compiler():
    with pytest.raises(ValueError, match='bounds of GPUs are those of one'):
        targets.parse('h100:2')
    with pytest.raises(ValueError, match='no compiler for GPUs'):
        targets.devices(targets.parse('h100'))


def test_bounds_are_work_over_published_rates():
    # Google's numbers for a v5e: 197 TFLOP/s, 819 GB/s.
    bound = chips.bound(chips.CHIPS['v5e'], 'bfloat16', 197e9, 1638e6)
    assert bound.arithmetic == pytest.approx(1e-3)
    assert bound.memory == pytest.approx(2e-3)
    assert (bound.by, bound.seconds) == ('memory', bound.memory)
    # jax sees a v4's two cores as devices, each with half of its rates.
    bound = chips.bound(chips.CHIPS['v4'], 'bfloat16', 275e9, 0)
    assert bound.arithmetic == pytest.approx(2e-3)
    # NVIDIA publishes rates for all precisions; Google does for bfloat16.
    assert chips.CHIPS['a100'].rate('float32') == (19.5e12, 'float32')
    assert chips.CHIPS['v6e'].rate('float32') == (918e12, 'bfloat16')


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ValueError, match=r'libtpu, which is not installed: pip install .*topology'):
        targets.devices(targets.parse('v5e:2x4'))
    assert targets.versions() == {}


def test_a_batch_divides_among_the_devices():
    case, target = small.make_config(batch_size=12), targets.parse('v5e:2x4')
    with pytest.raises(ValueError, match='batch_size=12 does not divide among the 8 devices'):
        targets.check(target, case, ['one_stage'])


def test_a_gpu_is_bounded_by_the_traced_step(tmp_path):
    out = tmp_path / 'bounds.json'
    done = launching.call(
        'benchmark',
        *('--target=h200', '--image_size=16', '--width=4', '--batch_size=8', '--channels=1'),
        *('--scheme=one_stage,two_stage', '--precision=tensorfloat32', f'--out={out}'),
    )
    assert (done.code, done.err) == (0, '')
    assert 'no times were measured' in done.out
    assert 'programs compiled for a CPU move bytes in other ways' in done.out
    body = json.loads(out.read_text())
    (found,) = body['targets']
    one, two = found['schemes']
    # 4 Tg + 8 Td over 3 Tg + 6 Td.
    assert 1.2 < two['flop_ratio'] < 1.45
    assert one['accessed'] is None
    # State in and out, and the batch in, at least.
    assert one['moved'] > one['memory'] > 4 * 8 * 16 * 16
    assert one['bound']['arithmetic'] == pytest.approx(one['flops'] / 494e12)
    assert one['bound']['memory'] == pytest.approx(one['moved'] / 4800e9)
    assert math.isfinite(one['flops'])


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--bytes'], 'reads a program compiled for --target'),
        (['--target=v5e', '--report=x'], 'are different things: give one'),
        (['--target=v9'], "target='v9': expected CHIP"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags, message):
    done = launching.call('benchmark', *flags)
    assert done.code == 1
    assert message in done.err


@pytest.mark.slow
@pytest.mark.skipif(not HAS_LIBTPU, reason='needs libtpu')
@pytest.mark.parametrize('text', ['v5e', 'v5e:2x4'])
def test_a_step_is_compiled_for_chips_that_are_not_there(text):
    target = targets.parse(text)
    case = small.make_config(batch_size=16, width=8, precision='bfloat16', num_devices=None)
    found = list(targets.compile_schemes(target, case, ['one_stage', 'two_stage']))
    one, two = found
    state = steps.build(dataclasses.replace(case, num_devices=1), 'one_stage').state
    assert 1.1 < two.flops / one.flops < 1.5
    for each in found:
        kinds = {operation.kind for operation in each.operations}
        assert ('collectives' in kinds) == (target.count > 1)
        # Parameters and moments of both networks are read and written.
        assert each.moved > sum(x.nbytes for x in jax.tree.leaves(state.opt_d))
        assert each.accessed > each.moved
        assert each.memory < target.chip.memory
    assert f'compiled for {target.name}' in targets.table(target, case, found)
