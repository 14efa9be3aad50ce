"""The benchmark's report: what it counts, never how fast."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from experiments.benchmark import charts, loop, peak, pipeline, report, rounds, steps
from experiments.benchmark.config import SCHEMES, BenchmarkConfig
from experiments.benchmark.turns import StepTiming
from osgan_jax.gan import config, updates
from osgan_jax.runtime import shards
from tests.support import launching, small


@pytest.fixture(scope='module')
def timings():
    # No BatchNorm statistics to repeat in D's real half, no loss that compares real with fake.
    return steps.measure_steps(small.make_config(method='sngan'), SCHEMES, repeats=2)


def test_schemes_are_measured_on_the_same_step(timings):
    assert [t.scheme for t in timings] == list(SCHEMES)
    for timing in timings:
        assert 0 < timing.low <= timing.seconds <= timing.high
        assert 0 < timing.compile_seconds < timing.first_step_seconds
        assert timing.num_devices == 1
        assert timing.bytes > 4 * 64 * small.BATCH  # at least the batch's images


def test_flops_are_in_the_order_of_the_arithmetic(timings):
    flops = {t.scheme: t.flops for t in timings}
    # 3 Tg + 6 Td, 3 Tg + 7 Td, 4 Tg + 8 Td, 4 Tg + 9 Td.
    assert flops['one_stage'] < flops['shared_forward'] < flops['two_stage']
    assert flops['two_stage'] < flops['two_stage_eager']
    assert flops['two_stage'] / flops['one_stage'] < 1.45
    assert flops['two_stage_eager'] / flops['one_stage'] < 1.6


@pytest.fixture(scope='module')
def plain():
    """The time of one_stage alone."""
    return steps.measure_steps(small.make_config(scheme='one_stage'), ['one_stage'], repeats=1)[0]


def test_steps_a_call_share_the_call(plain):
    case = small.make_config(steps_per_call=2, log_every=2)
    (two,) = steps.measure_steps(case, ['one_stage'], repeats=1)
    # A scan's body is counted once; how much of it is folded differs a little.
    assert two.flops == pytest.approx(plain.flops, rel=0.15)


def test_flops_of_an_accumulated_step_are_not_given():
    (timing,) = steps.measure_steps(small.make_config(accumulate=2), ['one_stage'], repeats=1)
    assert timing.flops is None
    assert '%' not in report.table(small.make_config(), [timing], peak=1e9)


def test_a_step_of_several_d_steps_says_so():
    case = small.make_config(d_steps=3, num_devices=None)
    assert report.name(case).endswith('lsgan, 3 D steps')
    # Real images, three batches of 8 in half a second.
    assert ' 48 ' in report.table(case, [_timing()], peak=1e9).splitlines()[-1]
    # A method's own, the same in all schemes; one is not worth a word.
    case = small.make_config(method='wgan_gp', num_devices=None)
    assert report.name(steps.complete(case, 'one_stage')).endswith('wgan_gp, 5 D steps')
    case = small.make_config(num_devices=None)
    assert report.name(steps.complete(case, 'one_stage')).endswith('lsgan')


@pytest.mark.slow
def test_steps_of_several_d_steps_are_timed_and_counted():
    one, three = (
        steps.measure_steps(small.make_config(d_steps=count), ['one_stage'], repeats=1)[0]
        for count in (1, 3)
    )
    # By theory, and what it says of networks so small: 3 Tg + 6 Td, and twice Tg + 6 Td.
    assert 2 < three.flops / one.flops < 3


def test_devices_share_the_flops(plain):
    case = small.make_config(num_devices=2, scheme='one_stage')
    (two,) = steps.measure_steps(case, ['one_stage'], repeats=1)
    assert two.num_devices == 2
    assert two.processors == 1  # one and the same processor
    # Twice the optimiser's work, besides.
    assert plain.flops < two.flops < 1.5 * plain.flops


def test_steps_of_a_divided_state_are_timed_alone_and_in_the_loop(monkeypatch):
    monkeypatch.setattr(shards, 'LEAST_SIZE', 64)
    case = small.make_config(num_devices=2, shard_state=True)
    built = steps.build(case, 'one_stage')
    assert built.divided
    (alone,) = steps.measure_steps(case, ['one_stage'], repeats=1)
    whole = dataclasses.replace(case, shard_state=False)
    (of_whole,) = steps.measure_steps(whole, ['one_stage'], repeats=1)
    assert alone.bytes < of_whole.bytes
    compiled = built.lower().compile()
    timing = loop.measure_bare_loop(built, compiled, built.state, num_steps=30)
    assert timing.loop_seconds > 0


def test_eager_two_stage_computes_what_it_does_not_use():
    """The same step as two_stage, whose extra metric is the norm of L_G's gradient in D."""
    states, metrics = {}, {}
    for scheme in ('two_stage', 'two_stage_eager'):
        gan, state, _, _ = small.build(scheme='two_stage', optimizer='sgd')
        update = jax.jit(updates.make_update(gan, scheme, state))
        states[scheme], metrics[scheme] = update(state, small.batch())
    for plain, eager in zip(
        jax.tree.leaves(states['two_stage'].params_g),
        jax.tree.leaves(states['two_stage_eager'].params_g),
        strict=True,
    ):
        np.testing.assert_allclose(plain, eager, rtol=1e-5, atol=1e-6)
    # Against the gradient written out: L_G of the new D, on the fakes of stage 2's z.
    gan, state, _, _ = small.build(scheme='two_stage', optimizer='sgd')
    after = states['two_stage']
    key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), 1)
    z = jax.random.normal(key, (small.BATCH, gan.latent_dim))

    @jax.jit
    @jax.grad
    def gradient(params_d):
        fake, _ = gan.generator.apply(
            {'params': state.params_g, **state.stats_g},
            z,
            None,
            train=True,
            mutable=['batch_stats'],
        )
        logits, _ = gan.discriminator.apply(
            {'params': params_d, **after.stats_d}, fake, None, train=True, mutable=['batch_stats']
        )
        return gan.loss.generator(logits, logits, None)

    grads = gradient(after.params_d)
    expected = sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(grads))
    assert float(metrics['two_stage_eager']['unused']) == pytest.approx(expected, rel=1e-4)
    assert set(metrics['two_stage_eager']) == {*metrics['two_stage'], 'unused'}


def test_nobody_trains_with_the_eager_scheme():
    with pytest.raises(ValueError, match="scheme='two_stage_eager'"):
        config.TrainConfig(scheme='two_stage_eager')


def test_peak_is_a_rate():
    assert 1e8 < peak.measure_peak('float32', sizes=(64, 128)) < 1e16


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'repeats': 0}, 'repeats=0'),
        ({'scheme': ('three_stage',)}, "scheme='three_stage': expected some of one_stage"),
        ({'scheme': ()}, 'scheme: expected at least one'),
        ({'precision': ('float16',)}, "precision='float16': expected some of float32"),
        ({'r1': (1.0, -1.0)}, 'r1=-1.0'),
        ({'penalty_every': 0}, 'penalty_every=0'),
    ],
)
def test_wrong_flags_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        BenchmarkConfig(**fields)


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'network': 'resnet_gan', 'image_size': 16}, 'resnet_gan has no 16-pixel networks'),
        ({'batch_size': 6, 'num_devices': 4}, 'does not divide among 4 devices'),
        ({'accumulate': 8, 'num_devices': 2}, 'accumulate=8 does not divide the 4 images'),
        ({'method': 'nogan'}, "method='nogan'"),
    ],
)
def test_cases_are_checked_before_anything_is_timed(fields, message):
    with pytest.raises(ValueError, match=message):
        steps.check(small.make_config(**fields), ['one_stage'])


def test_cases_are_all_combinations():
    cases = BenchmarkConfig(
        image_size=(16, 32), batch_size=(4, 8), width=(4,), steps_per_call=(3,)
    ).cases()
    assert [(c.image_size, c.batch_size) for c in cases] == [(16, 4), (16, 8), (32, 4), (32, 8)]
    assert {c.width for c in cases} == {4}


def test_penalties_are_of_cases_and_named():
    fields = {'r1': (0.0, 1.0), 'r2': (0.5,), 'gradient_penalty': (10.0,), 'penalty_every': 16}
    cases = BenchmarkConfig(**fields).cases()
    assert [(case.r1, case.r2, case.penalty_every) for case in cases] == [
        (0, 0.5, 16),
        (1, 0.5, 16),
    ]
    rest = 'R2 0.5, gradient penalty 10, 16 steps between penalties'
    assert [report.name(case) for case in cases] == [
        f'dcgan, 64 px, batch 32, lsgan, {rest}',
        f'dcgan, 64 px, batch 32, lsgan, R1 1, {rest}',
    ]
    assert report.rows_as_json([(cases[1], [_timing()])], {'float32': 1e9})[0]['case']['r1'] == 1
    # A method's own, where there are none.
    assert {getattr(BenchmarkConfig().cases()[0], name) for name in fields} == {None}


def _timing(**fields) -> StepTiming:
    values = {
        'scheme': 'one_stage',
        'seconds': 0.5,
        'low': 0.4,
        'high': 0.6,
        'flops': 1e9,
        'bytes': 1000,
        'compile_seconds': 1.0,
        'first_step_seconds': 2.0,
        'num_devices': 1,
        'processors': 1,
    }
    return StepTiming(**{**values, **fields})


def test_table_shows_ratios_to_the_first_and_share_of_the_peak():
    case = config.TrainConfig(network='dcgan', image_size=64, batch_size=32)
    peer = _timing(scheme='pytorch one_stage', seconds=1.0, flops=None, bytes=None)
    text = report.table(case, [_timing(), peer], peak=8e9)
    assert text.splitlines()[0] == 'dcgan, 64 px, batch 32, lsgan'
    # 32 / 0.5 images; 1e9 / 0.5 of 8e9.
    assert text.splitlines()[2].split() == [
        *('one_stage', '500.0', '400.0..600.0', '64', '1.00', '25%', '1', 'kB'),
        *('1.0', '2.0', '1.000', '1.000'),
    ]
    assert text.splitlines()[3].split()[-1] == '2.000'


def test_a_chart_names_every_scheme_once(tmp_path, monkeypatch):
    labels, barh = [], Axes.barh

    def record(axis, *args, label, **kwargs):
        labels.append(label)
        return barh(axis, *args, label=label, **kwargs)

    monkeypatch.setattr(Axes, 'barh', record)
    timings = [_timing(), _timing(scheme='two_stage', seconds=150.0, low=140.0, high=160.0)]
    charts.save(tmp_path / 'chart.png', [('one', timings), ('two', timings)], 'title')
    assert labels == ['one_stage', 'two_stage', None, None]
    with Image.open(tmp_path / 'chart.png') as image:
        assert min(image.size) > 100


def test_growth_compares_time_with_flops_of_one_device():
    small_case = config.TrainConfig(network='dcgan', image_size=64, batch_size=8)
    large_case = dataclasses.replace(small_case, batch_size=32, num_devices=2)
    grown = _timing(seconds=1.5, flops=4e9, num_devices=2, processors=2, bytes=3000)
    text = report.growth([(small_case, [_timing()]), (large_case, [grown])])
    # 4 times the images and FLOPs on 2 devices: twice is expected, three times measured.
    assert text.splitlines()[-1].split()[-5:] == ['4.00', '2.00', '3.00', '+50%', '3.00']
    assert report.growth([(small_case, [_timing()])]) is None


def test_idle_share_is_what_the_step_does_not_fill():
    assert loop.LoopTiming(0.9, 1.0).idle == pytest.approx(0.1)
    assert loop.LoopTiming(1.1, 1.0).idle == 0


def test_loop_needs_some_steps():
    with pytest.raises(ValueError, match='loop=20: expected at least 30'):
        loop.measure_loop(small.make_config(), small.dataset(), num_steps=20)


def test_pipeline_delivers_the_first_epoch_and_later_ones():
    timing = pipeline.measure_pipeline(small.dataset(), batch_size=8, seconds=0.2)
    assert timing.dataset == 'small'
    assert timing.first_epoch > 0
    assert timing.later > 0


def test_synthetic_files_have_the_faces_shape():
    with pipeline.open_dataset('synthetic', data_dir=None, image_size=16, channels=3) as dataset:
        assert dataset[0]['image'].shape == (16, 16, 3)
        assert len(dataset) == 2048


@pytest.mark.slow
def test_module_prints_tables_and_writes_json_and_chart(tmp_path):
    out = tmp_path / 'new' / 'result.json'
    done = launching.run(
        'benchmark',
        *('--image_size=16', '--width=4', '--batch_size=4,8', '--num_devices=2', '--repeats=1'),
        *('--scheme=one_stage,two_stage_eager', f'--out={out}', '--loop=30', '--pipeline'),
    )
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    rows = [line.split()[0] for line in lines if re.match(r'(one|two)_stage', line)]
    assert rows == ['one_stage', 'two_stage_eager'] * 2
    assert sum('the device idles' in line for line in lines) == 2
    assert sum('images/s in the first epoch' in line for line in lines) == 2
    body = json.loads(out.read_text())
    assert body['machine']['platform'] == 'cpu'
    assert body['config']['batch_size'] == [4, 8]
    assert [row['case']['batch_size'] for row in body['steps']] == [4, 4, 8, 8]
    for row in body['steps']:
        assert row['num_devices'] == 2
        assert row['images_per_second'] == row['case']['batch_size'] / row['seconds']
    assert 0 <= body['feeding'][0]['loop']['idle'] < 1
    with Image.open(out.with_suffix('.png')) as chart:
        assert chart.width > 300


def test_module_refuses_in_one_sentence():
    done = launching.call('benchmark', '--network=resnet_gan', '--image_size=16')
    assert done.code == 1
    assert done.err == 'error: resnet_gan has no 16-pixel networks: use one of 32, 64\n'


@pytest.mark.slow
def test_rounds_of_distillation_are_measured_and_tabulated(tmp_path):
    case = rounds.RoundCase(
        'lenet5', 'lenet5_half', batch_size=4, channels=1, num_devices=1, generator_width=4
    )
    algorithms = ['one_stage', 'dfad', 'zskt', 'kd']
    timings = rounds.measure_rounds(case, algorithms, repeats=1)
    assert [timing.scheme for timing in timings] == algorithms
    assert [case.updates(timing.scheme) for timing in timings] == [1, 5, 10, 1]
    one, dfad, _, kd = timings
    # Five of the student's steps and a step of the generator; no generator at all.
    assert 2 < dfad.flops / one.flops < 6
    assert kd.flops < one.flops
    text = report.rounds_table(case, timings, peak=1e9)
    lines = text.splitlines()
    assert lines[0] == 'lenet5 to lenet5_half, batch 4, generator width 4, 1 device'
    assert [line.split()[0] for line in lines[2:]] == algorithms
    ratio = float(lines[3].split()[-1])
    assert ratio == pytest.approx(dfad.seconds / 5 / one.seconds, abs=1e-3)
    entries = report.rounds_as_json([(case, timings)], {'float32': 1e9})
    assert entries[1]['seconds_per_student_update'] == pytest.approx(dfad.seconds / 5)
    assert entries[1]['case']['student'] == 'lenet5_half'
    charts.save(tmp_path / 'chart.png', [(case.name, timings)], 'title')
    with Image.open(tmp_path / 'chart.png') as image:
        assert image.width > 100


def test_pairs_of_networks_are_checked():
    with pytest.raises(ValueError, match="unknown classifier 'vgg'"):
        rounds.check_rounds(rounds.RoundCase('resnet34', 'vgg', 8), ['kd'])
