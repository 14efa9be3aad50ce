"""A suite of cases: its plan, its time limits, what it leaves on disk and its report."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from experiments.benchmark.config import PENALTIES, SCHEMES
from experiments.benchmark.suite import environment, measuring, plan, run, scheduler, store, summary
from osgan_jax.gan.config import TrainConfig
from osgan_jax.runtime import settings
from tests.support import ROOT, launching

STANDIN = str(ROOT / 'tests/support/standin_worker.py')


@pytest.mark.parametrize('scale', plan.SCALES)
def test_the_plan_has_all_that_was_asked_for(scale):
    cases = plan.cases(scale)
    assert len({case.name for case in cases}) == len(cases)
    for case in cases:
        TrainConfig(**case.fields)
        assert set(case.schemes) <= set(SCHEMES)
        assert case.kind in plan.KINDS
        assert plan.Case.from_json(json.loads(json.dumps(dataclasses.asdict(case)))) == case
    networks = {case.name.rpartition('_')[0] for case in cases if case.kind == 'steps'}
    assert {'dcgan64', 'dcgan128', 'resnet64', 'r3gan64', 'stylegan2_256', 'biggan128'} < networks
    precisions = {case.fields['precision'] for case in cases}
    assert precisions == {'float32', 'tensorfloat32', 'bfloat16'}
    assert {name for case in cases for name in PENALTIES if case.fields.get(name)} == {'r1', 'r2'}
    assert any(case.fields['method'] == 'wgan_gp' for case in cases)
    assert {case.kind for case in cases} == set(plan.KINDS)
    # What matters most comes first, in every scheme.
    assert cases[0].name == 'dcgan64_bfloat16'
    assert tuple(cases[0].schemes) == SCHEMES


def test_compilers_share_a_gpu_and_nothing_else():
    assert environment.workers({'platform': 'gpu', 'cores': 16}) == 4
    assert environment.workers({'platform': 'gpu', 'cores': 2}) == 1
    assert environment.workers({'platform': 'tpu', 'cores': 96}) == 1
    assert environment.workers({'platform': 'cpu', 'cores': 16}) == 1
    assert environment.variables('full')['XLA_PYTHON_CLIENT_PREALLOCATE'] == 'false'


def _suite(directory, names, *, limit=30.0, budget=60.0, most=1, words=(), kinds=None):
    """Runs stand-ins to the end; returns the store and what was said."""
    results = store.Store(directory)
    cases = [
        dataclasses.asdict(
            plan.Case(
                name,
                (kinds or {}).get(name, 'steps'),
                {'precision': 'float32'},
                ('one_stage', 'two_stage'),
                limit=limit,
            )
        )
        for name in names
    ]
    results.start(
        {'date': 'today', 'command': ['x'], 'scale': 'tiny', 'budget': budget, 'cases': cases}
    )
    said = []
    scheduler.Scheduler(
        results,
        [sys.executable, STANDIN, str(directory), *words],
        budget=budget,
        most_workers=lambda machine: most,
        environment={'PYTHONPATH': str(ROOT)},
        say=said.append,
    ).run()
    return results, said


@pytest.mark.process
def test_a_case_that_fails_dies_or_hangs_costs_the_others_nothing(tmp_path):
    names = ['refuses', 'is_skipped', 'is_too_large', 'dies', 'hangs', 'fine', 'hangs_later']
    results, said = _suite(tmp_path, names, limit=2.0)
    found = dict(zip(names, (result for _, result in results.results()), strict=True))
    assert {name: result['status'] for name, result in found.items()} == {
        'refuses': 'failed',
        'is_skipped': 'skipped',
        'is_too_large': 'out of memory',
        'dies': 'died',
        'hangs': 'timed out',
        'fine': 'done',
        'hangs_later': 'timed out',
    }
    assert found['refuses']['reason'] == 'no such network'
    assert found['dies']['reason'].startswith('exit code 7, see ')
    assert 'a compiler fell over' in (tmp_path / 'logs' / 'worker_1.txt').read_text()
    assert found['hangs']['reason'] == 'compiling, after 2 s'
    assert found['hangs_later']['reason'] == 'measuring, after 2 s'
    # Rows that there were at the time are kept.
    assert found['hangs']['rows'][0]['flops'] == 1.0
    assert [len(found[name]['rows']) for name in ('fine', 'hangs_later', 'is_too_large')] == [
        2,
        1,
        1,
    ]
    assert results.plan()['machine']['device'] == 'stand-in'
    assert len(said) == 1 + len(names)
    _check_report(tmp_path, results)


def _check_report(directory, results):
    """The report on those cases, made from the files alone."""
    done = launching.call('benchmark', f'--report={directory}')
    assert (done.code, done.err) == (0, '')
    text = (directory / summary.REPORT).read_text()
    assert text in done.out
    rows = [line for line in text.splitlines() if line.startswith('| fine |')]
    # 2e9 FLOPs in half a second, of 8e9 a second.
    assert rows[0].split(' | ')[1:9] == [
        *('one_stage', '8', '500', '400 to 600', '16', '1.000', '', '2.00'),
    ]
    assert '50%' in rows[0]
    assert rows[1].split(' | ')[6] == '1.500'
    assert '* dies: died: exit code 7' in text
    assert '* hangs: timed out: compiling, after 2 s' in text
    assert '* is_skipped: skipped: PyTorch is not installed here' in text
    body = json.loads((directory / summary.RESULTS).read_text())
    assert [case['status'] for case in body['cases']] == [
        result['status'] for _, result in results.results()
    ]
    for name in (summary.RATIOS, summary.RATES):
        with Image.open(directory / name) as image:
            assert min(image.size) > 100


@pytest.mark.process
def test_workers_prepare_together_and_measure_alone(tmp_path):
    names = ['a', 'b', 'c', 'large', 'd']
    results, _ = _suite(tmp_path, names, most=2, kinds={'large': 'growth'})
    assert {result['status'] for _, result in results.results()} == {'done'}
    turns = (tmp_path / 'turns.txt').read_text().split('\n')[:-1]
    assert sorted(turns) == sorted(
        f'{what} {name}'
        for name in names
        for what in ('prepare', 'prepared', 'measure', 'measured')
    )
    preparing, measuring = set(), set()
    for turn in turns:
        what, name = turn.split()
        if what == 'measure':
            assert not preparing | measuring, turns
        {'prepare': preparing.add, 'prepared': preparing.discard}.get(what, id)(name)
        {'measure': measuring.add, 'measured': measuring.discard}.get(what, id)(name)


@pytest.mark.process
def test_what_does_not_fit_the_budget_is_listed_as_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr(scheduler, '_LEAST_SECONDS', 0.5)
    results, _ = _suite(tmp_path, ['fine', 'hangs', 'later'], budget=6.0, limit=60.0)
    assert [result['status'] for _, result in results.results()] == [
        *('done', 'timed out', store.NOT_RUN)
    ]
    text = summary.text(results.plan(), results.results())
    assert "* hangs: timed out: the suite's time was up" in text
    assert '* later: not run' in text
    assert summary.counts(results.results()) == '1 done, 1 timed out, 1 not run'


@pytest.mark.process
def test_a_machine_on_which_nothing_starts_is_named(tmp_path):
    with pytest.raises(ValueError, match=r'does not start .*no accelerator to be found'):
        _suite(tmp_path, ['fine'], words=('no start',))
    assert results_of(tmp_path) == [store.NOT_RUN]


def results_of(directory):
    return [result['status'] for _, result in store.Store(directory).results()]


def test_what_was_killed_half_way_is_read(tmp_path, capsys):
    results = store.Store(tmp_path)
    cases = [dataclasses.asdict(case) for case in plan.cases('tiny')[:3]]
    results.start({'date': 'd', 'command': [], 'scale': 'tiny', 'budget': 1.0, 'cases': cases})
    row = {'scheme': 'one_stage', 'batch_size': 4, 'seconds': 1.0}
    results.write(cases[0]['name'], {'status': 'running', 'reason': '', 'rows': [row]})
    # Of a file that was being written, the old one is there.
    (tmp_path / 'cases' / '.half.json.0.tmp').write_text('{')
    run.report(tmp_path)
    text = capsys.readouterr().out
    assert f'| {cases[0]["name"]} | one_stage | 4 | 1e+03 |' in text
    assert f'* {cases[0]["name"]}: begun, and not finished' in text
    assert f'* {cases[2]["name"]}: not run' in text


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--suite=accelerator'], '--suite=accelerator needs --out'),
        (['--suite=accelerator', '--out={}'], 'holds other files than a suite writes'),
        (['--report={}'], 'expected the directory that --suite=accelerator'),
        (['--suite=accelerator', '--budget=5'], 'budget=5'),
    ],
)
def test_wrong_directories_and_flags_are_refused(tmp_path, flags, message):
    (tmp_path / 'mine.txt').write_text('mine')
    done = launching.call('benchmark', *(flag.format(tmp_path) for flag in flags))
    assert done.code == 1
    assert message in done.err
    assert os.listdir(tmp_path) == ['mine.txt']


def _measure(name, **values):
    """A case of the tiny plan in this process: its rows, and those saved first."""
    (case,) = (case for case in plan.cases('tiny') if case.name == name)
    bench, saved = measuring.AcceleratorBench(), []
    save = lambda rows: saved.append(json.loads(json.dumps(rows)))  # noqa: E731
    prepared = bench.prepare(dataclasses.replace(case, **values), save)
    facts = bench.measure(prepared, save)
    assert min(facts.values()) > 0
    return saved


@pytest.fixture(scope='module', autouse=True)
def _as_a_test():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, 'keep_pages', lambda: False)
        yield


@pytest.mark.slow
def test_a_case_is_compiled_then_timed_in_all_it_has():
    first, *_, rows = _measure('dcgan64_bfloat16', schemes=('one_stage', 'two_stage'))
    assert all(row['compile_seconds'] > 0 and 'seconds' not in row for row in first)
    one, two = rows
    assert 0 < one['low'] <= one['seconds'] <= one['high']
    assert one['time_ratio'] == 1
    assert two['time_ratio'] == two['seconds'] / one['seconds']
    # 4 Tg + 8 Td over 3 Tg + 6 Td.
    assert 1.2 < two['flop_ratio'] < 1.45
    assert two['images_per_second'] == 4 / two['seconds']
    for share in ('share_of_peak', 'share_of_copy'):
        assert one[share] > 0


def test_the_loop_is_timed_beside_its_step():
    *_, (row,) = _measure('dcgan64_bfloat16_loop')
    assert 0 <= row['idle'] < 1
    assert row['loop_seconds'] > 0


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')  # torch's compiler warns of itself
@pytest.mark.parametrize('network', ['resnet64', 'r3gan64', 'stylegan2_256'])
def test_pytorchs_steps_are_timed_beside_ours(network):
    pytest.importorskip('torch')
    *_, rows = _measure(f'{network}_bfloat16_peer')
    found = {row['scheme']: row for row in rows}
    schemes = ('one_stage', 'two_stage')
    for name in (*schemes, *(f'pytorch {scheme}' for scheme in schemes)):
        assert found[name]['seconds'] > 0
    for scheme in schemes:
        row = found[f'pytorch {scheme}, compiled']
        if network == 'r3gan64':
            # R1 and R2 differentiate a gradient.
            assert 'does not currently support double backward' in row['refused']
        else:
            assert row['seconds'] > 0


def test_batches_grow_until_one_does_not_fit(monkeypatch):
    time = measuring._time

    def run_out(runners, rows, *more, **options):
        (row,) = rows.values()
        if row['batch_size'] > 4:
            raise RuntimeError('RESOURCE_EXHAUSTED: out of memory')
        time(runners, rows, *more, **options)

    monkeypatch.setattr(measuring, '_time', run_out)
    *_, rows = _measure('dcgan64_bfloat16_growth')
    assert [row['batch_size'] for row in rows] == [4, 8]
    assert ['seconds' in row for row in rows] == [True, False]
    assert rows[1]['out_of_memory'] is True


# Of the libraries, an accelerator may have jax, flax, optax, orbax and chex alone.
BLOCKED = """
import sys
for name in (
    'tensorflow', 'tensorflow_datasets', 'grain', 'matplotlib', 'PIL', 'sklearn', 'tensorboardX',
    'safetensors', 'importlib_resources', 'torch',
):
    sys.modules[name] = None  # neither imported nor found
"""


@pytest.mark.process
def test_training_and_benchmark_import_without_the_other_libraries():
    modules = 'experiments.train, experiments.benchmark.steps, osgan_jax.gan.trainer'
    done = subprocess.run(
        [sys.executable, '-c', f'{BLOCKED}\nimport {modules}'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.process
def test_the_whole_of_it_runs_in_small(tmp_path):
    # Also in the processes that it starts.
    (tmp_path / 'site').mkdir()
    (tmp_path / 'site' / 'sitecustomize.py').write_text(BLOCKED)
    out = tmp_path / 'suite'
    done = subprocess.run(
        [
            *(sys.executable, '-m', 'experiments.benchmark', '--suite=accelerator'),
            *('--scale=tiny', f'--out={out}', '--budget=1500'),
        ],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': f'{tmp_path / "site"}:{ROOT}'},
        capture_output=True,
        text=True,
        timeout=1600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert 'no charts: matplotlib is not installed' in done.stdout
    results = store.Store(out).results()
    statuses = {case['name']: (r['status'], r['reason']) for case, r in results}
    peers = {name for name in statuses if name.endswith('_peer')}
    assert {statuses[name] for name in peers} == {('skipped', 'PyTorch is not installed here')}
    assert {statuses[name] for name in statuses.keys() - peers} == {('done', '')}, statuses
    for case, result in results:
        for row in result['rows']:
            assert row['seconds'] > 0, (case['name'], row)
            assert row['memory'] > 0
    (loop,) = (result['rows'] for case, result in results if case['kind'] == 'loop')
    assert 0 <= loop[0]['idle'] < 1
    (grown,) = (result['rows'] for case, result in results if case['kind'] == 'growth')
    assert [row['batch_size'] for row in grown] == [4, 8]
    (first, *_) = results
    flops = {row['scheme']: row['flops'] for row in first[1]['rows']}
    assert flops['one_stage'] < flops['shared_forward'] < flops['two_stage']
    # Charts are drawn where they can be.
    run.report(out)
    assert (out / summary.RATIOS).exists()
