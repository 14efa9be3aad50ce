"""NaN and infinity wherever a run keeps numbers: found in time, named; what was good is kept."""

import functools
import json

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax import data
from osgan_jax.core import collectives
from osgan_jax.engine import checkpoints, loop, nonfinite, recorder, runner, runs
from osgan_jax.engine.job import Job
from osgan_jax.gan import trainer, updates
from osgan_jax.runtime import parallel
from tests.support import small

LOG_EVERY, SAVE_EVERY, LAST = 4, 8, 32
_LAZY = {'ema_decay': 0.9, 'r1': 1.0, 'penalty_every': 2}


@flax.struct.dataclass
class Line:
    """Three lines through the mean grey of images, with squares of gradients and an average."""

    step: jax.Array
    params: dict[str, jax.Array]
    squares: dict[str, jax.Array]
    average: dict[str, jax.Array]
    key: jax.Array


def fresh() -> Line:
    params = {'offset': jnp.zeros(3), 'slope': jnp.ones(3)}
    return Line(
        jnp.zeros((), jnp.int32),
        params,
        jax.tree.map(jnp.zeros_like, params),
        jax.tree.map(jnp.zeros_like, params),
        jax.random.key(0),
    )


def poisoned(tree, here, value):
    """A pytree whose first leaf has `value` at its first place where `here` is true."""
    leaves, structure = jax.tree.flatten(tree)
    bad = leaves[0].reshape(-1).at[0].set(value).reshape(leaves[0].shape)
    return jax.tree.unflatten(structure, [jnp.where(here, bad, leaves[0]), *leaves[1:]])


def update(state: Line, batch, *, place=None, steps=(), value=jnp.nan):
    """A step, into which `value` comes at `place` in the steps that are given."""
    here = functools.reduce(jnp.logical_or, [state.step + 1 == step for step in steps], False)

    def maybe(name, tree):
        return poisoned(tree, here, value) if name == place else tree

    grey = jnp.mean(maybe('data', batch['image']), axis=(1, 2, 3))

    def loss(params):
        line = jnp.outer(grey, params['slope']) + params['offset']
        return jnp.mean(jnp.square(line - jnp.arange(3.0)))

    loss_now, grads = jax.value_and_grad(loss)(maybe('params', state.params))
    grads = maybe('gradients', grads)
    # As Adam divides: an infinity here shows in no parameter and no loss.
    squares = jax.tree.map(lambda s, g: 0.9 * s + g * g, state.squares, grads)
    squares = maybe('squares', squares)
    params = jax.tree.map(
        lambda p, g, s: p - 0.01 * g / (1e-3 + jnp.sqrt(s)), state.params, grads, squares
    )
    average = jax.tree.map(lambda a, p: 0.9 * a + 0.1 * p, state.average, params)
    new = Line(state.step + 1, params, squares, maybe('average', average), state.key)
    return new, {'loss': loss_now}


class Lines(Job):
    """Fits a line to images; `poison` is for `update`."""

    title, advice = 'lines', 'Try another.'

    def __init__(self, config, workdir, constants, poison):
        super().__init__(config, workdir, small.dataset())
        self.constants, self.poison = constants, poison

    def open(self):
        names = self.dataset.class_names
        return runs.Run(self.config, small.CLASSES, names, small.EXAMPLES)

    def build(self):
        step = lambda state, batch, *constants: update(state, batch, **self.poison)  # noqa: E731
        return jax.eval_shape(fresh), step

    def create(self):
        return fresh()

    def describe(self, flops):
        return []

    def open_recorder(self, start, flops, check):
        return recorder.FileRecorder(self.run, self.workdir, start, title='lines')


def run(
    workdir, *, constants=None, num_steps=LAST, skip_nonfinite=False, steps_per_call=1, **poison
) -> runner.Result:
    config = small.resolve(
        small.make_config(
            num_devices=1,
            log_every=LOG_EVERY,
            save_every=SAVE_EVERY,
            sample_every=SAVE_EVERY,
            num_steps=num_steps,
            skip_nonfinite=skip_nonfinite,
            steps_per_call=steps_per_call,
        )
    )
    return runner.run(Lines(config, workdir, constants, poison))


@pytest.fixture(scope='module')
def clean(tmp_path_factory):
    """The final state of a run that nothing befell."""
    return run(tmp_path_factory.mktemp('clean')).state


@pytest.fixture
def last_step(monkeypatch):
    """The step that a run has come to."""
    reached = []
    note = loop.Loop._note

    def noted(self, step, *rest):
        reached[:] = [step]
        note(self, step, *rest)

    monkeypatch.setattr(loop.Loop, '_note', noted)
    return reached


@pytest.mark.parametrize('value', [np.nan, np.inf])
@pytest.mark.parametrize(
    ('place', 'said'),
    [
        ('data', 'loss became'),
        ('params', 'loss became'),
        ('gradients', 'params/offset'),
        ('squares', 'squares/offset'),
        ('average', 'average/offset not finite'),
    ],
)
def test_found_within_the_stated_steps_named_and_mended(
    tmp_path, clean, last_step, place, said, value
):
    at = 18
    with pytest.raises(nonfinite.NonFiniteError, match=said) as caught:
        run(tmp_path, place=place, steps=[at], value=value)
    message = str(caught.value)
    assert 'checkpoint of step 16 is kept. Try another.' in message
    assert 'offset' in message, 'a tensor is named wherever it began'
    # As `runner.run` promises.
    assert at <= last_step[0] <= at + LOG_EVERY + 1
    chex.assert_trees_all_equal(run(tmp_path).state, clean)


def test_the_first_of_several_steps_a_call_is_named(tmp_path):
    with pytest.raises(nonfinite.NonFiniteError, match='loss became nan at step 10'):
        run(tmp_path, place='data', steps=[10], steps_per_call=4)


def test_tensors_are_named_and_the_rest_counted():
    tree = {'a': [jnp.ones(2)] * 3, 'b': {str(i): jnp.full(2, np.inf) for i in range(5)}}
    assert nonfinite.describe(tree) == 'b/0, b/1, b/2 and 2 more of 8 tensors'
    assert nonfinite.describe({'a': jnp.ones(1), 'n': jnp.array(3), 'key': jax.random.key(0)}) == ''
    assert nonfinite.describe(None) == ''
    assert not nonfinite.all_finite({'a': jnp.ones(1, jnp.bfloat16), 'b': jnp.array([1, np.nan])})


@pytest.mark.parametrize('steps_per_call', [1, 4])
def test_skipping_leaves_a_step_out_and_counts_it(tmp_path, capsys, steps_per_call):
    """As if the skipped steps' batches had passed by."""
    bad = [3, 4, 18]
    options = {'skip_nonfinite': True, 'steps_per_call': steps_per_call}
    result = run(tmp_path, place='data', steps=bad, **options)
    assert '3 steps were skipped' in capsys.readouterr().out
    expected = fresh()
    step = jax.jit(update)
    job = Lines(small.resolve(small.make_config()), tmp_path, None, {})
    job.run = job.open()
    with job.open_batches() as batches:
        for index in range(1, LAST + 1):
            new, _ = step(expected, data.to_float(jax.device_put(next(batches))))
            expected = new if index not in bad else expected.replace(step=new.step)
    chex.assert_trees_all_close(
        result.state.replace(key=0), expected.replace(key=0), rtol=1e-5, atol=1e-7
    )
    lines = list(map(json.loads, (tmp_path / 'metrics.jsonl').read_text().splitlines()))
    assert {line['step']: line['skipped'] for line in lines} == {
        **{step: 2 for step in (4, 8, 12, 16)},
        **{step: 3 for step in (20, 24, 28, 32)},
    }
    assert lines[0]['loss'] == 'NaN'


def test_the_count_of_skipped_steps_goes_on_after_an_interruption(tmp_path):
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    options = {'place': 'data', 'steps': [3, 18], 'skip_nonfinite': True}
    result = run(whole, **options)
    run(parts, num_steps=11, **options)
    chex.assert_trees_all_equal(run(parts, **options).state, result.state)
    log = (whole / 'metrics.jsonl').read_text()
    assert (parts / 'metrics.jsonl').read_text() == log


def test_steps_skipped_in_a_row_are_counted_over_an_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, 'MOST_SKIPPED', 6)
    options = {'place': 'data', 'steps': range(9, 16), 'skip_nonfinite': True}
    run(tmp_path, num_steps=11, **options)
    with pytest.raises(nonfinite.NonFiniteError, match='6 steps in a row up to step 14'):
        run(tmp_path, **options)


@pytest.mark.parametrize('found', ['x', None, 3, [1], [1, 'x'], [True, 0], {'1': 2}])
def test_counts_that_no_save_writes(found):
    assert runner._skipped({'skipped': found}) == (0, 0)
    assert runner._skipped({'skipped': [5, 2]}) == (5, 2)


def test_calls_that_would_meet_no_multiple_are_refused(tmp_path):
    run(tmp_path, num_steps=10)
    with pytest.raises(ValueError, match=r'is at step 10.* resume with --steps_per_call=2'):
        run(tmp_path, steps_per_call=4)
    assert int(run(tmp_path, steps_per_call=2).state.step) == LAST


def test_a_run_that_stopped_goes_on_with_skipping(tmp_path):
    with pytest.raises(nonfinite.NonFiniteError):
        run(tmp_path, place='data', steps=[18])
    result = run(tmp_path, place='data', steps=[18], skip_nonfinite=True)
    assert int(result.state.step) == LAST


def test_skipping_gives_up_when_nothing_else_happens(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, 'MOST_SKIPPED', 6)
    with pytest.raises(nonfinite.NonFiniteError, match=r'6 steps in a row up to step 23 .*loss'):
        run(tmp_path, place='data', steps=range(18, 33), skip_nonfinite=True)
    with checkpoints.Checkpoints(tmp_path, read_only=True) as saved:
        assert saved.latest_step() == 16


def test_a_teacher_with_nan_is_refused_before_anything_is_written(tmp_path):
    constants = {'kernel': jnp.array([1.0, np.nan])}
    with pytest.raises(nonfinite.NonFiniteError, match=r'the teacher holds .* kernel'):
        run(tmp_path / 'run', constants=constants)
    assert not (tmp_path / 'run').exists()


def test_a_checkpoint_with_nan_is_refused(tmp_path):
    run(tmp_path, num_steps=8)
    with checkpoints.Checkpoints(tmp_path) as saved:
        state, batches, step = saved.restore(fresh())
        state = state.replace(average=jax.tree.map(lambda x: x * np.nan, state.average))
        saved.save(step + 8, state, iterator_state=batches, metadata={}, wait=True)
    with pytest.raises(nonfinite.NonFiniteError, match=r'checkpoint of step 16 .* average/offset'):
        run(tmp_path)


@pytest.mark.parametrize(
    ('scheme', 'num_devices', 'fields'),
    [
        ('one_stage', 1, {'method': 'lsgan'}),
        pytest.param('two_stage', 1, {'method': 'sngan', **_LAZY}, marks=pytest.mark.slow),
        pytest.param('one_stage', 2, {'method': 'sngan', **_LAZY}, marks=pytest.mark.slow),
    ],
)
def test_a_gans_step_is_skipped_whole(scheme, num_devices, fields):
    gan, state, _, devices = small.build(num_devices, scheme=scheme, **fields)
    update = updates.make_update(gan, scheme, state, collectives.collectives_over(devices))
    guarded = parallel.compile_update(nonfinite.skipping(update), devices)
    batches = [small.batch(index) for index in range(2)]
    batches[0]['image'][-1, 0, 0, 0] = np.nan
    before = jax.device_get(state.replace(key=0))
    state, metrics = guarded(state, parallel.put_batch(batches[0], devices))
    assert float(metrics['skipped']) == 1
    after = jax.device_get(state.replace(key=0))
    chex.assert_trees_all_equal(after, before.replace(step=np.int32(1)))
    state, metrics = guarded(state, parallel.put_batch(batches[1], devices))
    assert float(metrics['skipped']) == 0
    assert nonfinite.describe(state) == ''


@pytest.mark.slow
@pytest.mark.parametrize('method', ['dcgan', 'lsgan', 'fishergan', 'relgan', 'sngan'])
def test_a_dead_or_a_shouting_discriminator_ends_no_training(method):
    """Logits of 0 whatever the image, all but equal, or of hundreds of thousands."""
    _, state, update, devices = small.build(1, method=method, ema_decay=0.9)
    fresh = jax.device_get(state.replace(key=0))

    def go_on(scale, everywhere):
        def scaled(path, leaf):
            last = path[0].key == 'Conv_2'
            return leaf * np.float32(scale) if everywhere or last else leaf

        params_d = jax.tree_util.tree_map_with_path(scaled, fresh.params_d)
        # Donated, the key too.
        state = fresh.replace(params_d=params_d, key=jax.random.key(0))
        state = parallel.replicate(state, devices)
        greatest = 0.0
        for index in range(4):
            state, metrics = update(state, parallel.put_batch(small.batch(index), devices))
            chex.assert_tree_all_finite(metrics)
            greatest = max(greatest, abs(float(metrics['logit_real'])))
        assert nonfinite.describe(state) == '', scale
        return greatest

    for scale in (0.0, 1e-30, 1e-6):
        assert go_on(scale, everywhere=True) < 3
    # Fisher's loss has the fourth power of logits, Adam the square of its gradients.
    shouted = go_on(1e4 if method == 'fishergan' else 1e7, everywhere=False)
    # Spectral norm divides by what the last layer was multiplied by.
    assert shouted > (1e2 if method == 'fishergan' else 1e5) or method == 'sngan'


def test_an_overflow_that_shows_in_no_loss_is_found(tmp_path, monkeypatch):
    """Adam's squares of gradients beyond float32's range: every later step would be 0."""
    create = trainer.GANJob.create

    def shouting(self):
        state = create(self)
        return state.replace(params_d=jax.tree.map(lambda x: x * 1e7, state.params_d))

    monkeypatch.setattr(trainer.GANJob, 'create', shouting)
    config = small.make_config(num_steps=3, log_every=1, sample_every=3)
    with pytest.raises(trainer.NonFiniteError, match=r'opt_g/0/nu.* not finite at step 1'):
        trainer.train(config, tmp_path, dataset=small.dataset())
