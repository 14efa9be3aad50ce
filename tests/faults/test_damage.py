"""Damaged workdirs as a person meets them: the same command again, and those that read a run.

Whatever was done to a run's directory, training it again comes to the same end, to the bit, and
says what it passed over; or it refuses in a sentence and leaves everything as it is.
"""

import json
import os
import shutil

import chex
import jax
import pytest

from osgan_jax.compression import teachers
from osgan_jax.engine import checkpoints, runner
from osgan_jax.engine.checkpoints import manifest
from osgan_jax.gan import sampling, trainer
from osgan_jax.networks import inference
from tests.support import launching, small
from tests.support.damaging import JUNK, cut, files_of, lose, newest, put_a_file

SCHEDULE = {'num_steps': 4, 'log_every': 1, 'sample_every': 2, 'save_every': 2}


@pytest.fixture(scope='module', autouse=True)
def compiled_once():
    """All tests here train the same run: its programs are compiled once."""
    compile_, sampler = runner._compile, inference.compile_generator
    made = {}

    def compiled(job, update, state):
        if 'update' not in made:
            made['update'] = compile_(job, update, state)
        return made['update']

    def drawing(gan):
        if 'draw' not in made:
            made['draw'] = sampler(gan)
        return made['draw']

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, '_compile', compiled)
        patch.setattr(inference, 'compile_generator', drawing)
        yield


def train(workdir, **fields):
    config = small.make_config(**{**SCHEDULE, **fields})
    return trainer.train(config, workdir, dataset=small.dataset())


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A finished run and its result."""
    workdir = tmp_path_factory.mktemp('whole')
    return workdir, train(workdir)


@pytest.fixture
def workdir(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / 'run')


def arrays_of(state):
    return jax.device_get(state.replace(key=jax.random.key_data(state.key)))


def assert_same_end(workdir, result, whole):
    chex.assert_trees_all_equal(arrays_of(result.state), arrays_of(whole[1].state))
    launching.assert_same_end(workdir, whole[0])


def snapshot(workdir):
    return {
        str(path.relative_to(workdir)): path.read_bytes() if path.is_file() else None
        for path in workdir.rglob('*')
        if path.name != '.lock'
    }


def link_nowhere(path):
    lose(path)
    path.symlink_to('nowhere')


def rename_another(path):
    lose(path)
    shutil.copytree(path.parent / '2', path)


def edit_manifest(path):
    manifest = path / 'manifest' / 'metadata'
    manifest.write_text(manifest.read_text().replace('"step": 4', '"step": 5'))


SLOW = (cut, edit_manifest, link_nowhere, rename_another)
DAMAGES = [put_a_file, *(pytest.param(damage, marks=pytest.mark.slow) for damage in SLOW)]


@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_newest_checkpoint_is_passed_over(workdir, whole, damage, capsys):
    damage(newest(workdir))
    result = train(workdir)
    out = capsys.readouterr().out
    assert f'warning: the checkpoint {newest(workdir)} is damaged (' in out
    assert 'going on from step 2 instead.' in out
    assert 'from step 2' in out.split('resumed', 1)[1]
    assert_same_end(workdir, result, whole)
    # Nothing is lost, whatever it may have been worth.
    assert os.path.lexists(workdir / 'checkpoints_damaged' / '4')


@pytest.mark.slow
def test_every_file_of_the_newest_checkpoint_in_every_way(whole, tmp_path, capsys):
    names = [p.relative_to(newest(whole[0])) for p in files_of(newest(whole[0]))]
    assert len(names) >= 10
    passed_over = 0
    for index, name in enumerate(names):
        for how in ('removed', 'emptied', 'cut', 'flipped'):
            workdir = shutil.copytree(whole[0], tmp_path / f'{index}-{how}')
            path = newest(workdir) / name
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 0x10
            damaged = {'emptied': b'', 'cut': content[: len(content) // 2], 'flipped': content}
            path.unlink() if how == 'removed' else path.write_bytes(damaged[how])
            result = train(workdir)
            out = capsys.readouterr().out
            said = f'{newest(workdir)} is damaged (' in out and 'from step 2 instead' in out
            # Or the file says nothing that is needed.
            assert said or 'Already at step 4' in out, (name, how)
            assert_same_end(workdir, result, whole)
            passed_over += said
            shutil.rmtree(workdir)
    assert passed_over >= len(names)


def refused(workdir, error, message, **fields):
    """Training again refuses in one sentence and changes nothing."""
    before = snapshot(workdir)
    with pytest.raises(error, match=message) as caught:
        train(workdir, **fields)
    assert '\n' not in str(caught.value)
    assert str(workdir) in str(caught.value)
    assert snapshot(workdir) == before


def test_without_a_good_checkpoint_nothing_starts_again(workdir):
    for step in '24':
        put_a_file(workdir / 'checkpoints' / step)
    refused(
        workdir,
        checkpoints.CheckpointError,
        r'none of the 2 checkpoints .* or choose another workdir to start from step 0',
    )
    shutil.rmtree(workdir / 'checkpoints')
    (workdir / 'checkpoints').write_bytes(JUNK)
    refused(workdir, checkpoints.CheckpointError, 'cannot use .*/checkpoints for checkpoints')


@pytest.mark.slow
def test_a_newer_format_is_refused(workdir):
    path = newest(workdir) / 'manifest' / 'metadata'
    body = json.loads(path.read_text())['body']
    body['format'] = manifest.FORMAT + 1
    path.write_text(json.dumps({'body': body, 'crc32': manifest._crc(body)}))
    refused(workdir, checkpoints.CheckpointError, 'has format 2 .* upgrade osgan_jax')


@pytest.mark.slow
def test_lost_checkpoints_are_no_fresh_start(workdir, whole, capsys):
    shutil.rmtree(workdir / 'checkpoints')
    log = workdir / 'metrics.jsonl'
    lines = log.read_text()
    log.write_text(lines + lines.splitlines()[-1].replace('"step": 4', '"step": 5') + '\n')
    (workdir / 'checkpoints').mkdir()
    refused(workdir, ValueError, 'reached step 5, but none of its checkpoints: restore')
    # It may never have saved: it starts again, and says so.
    log.write_text(lines)
    result = train(workdir)
    assert 'came to step 4 and was interrupted before its first checkpoint' in (
        capsys.readouterr().out
    )
    assert_same_end(workdir, result, whole)


@pytest.mark.slow
def test_without_config_the_checkpoint_remembers(workdir, whole, capsys):
    (workdir / 'config.json').unlink()
    with pytest.raises(ValueError, match=r'learning_rate_g is .* there and 0\.5 now'):
        train(workdir, learning_rate_g=0.5)
    assert not (workdir / 'config.json').exists()
    result = train(workdir)
    assert 'has no config.json: its checkpoints remember it' in capsys.readouterr().out
    assert_same_end(workdir, result, whole)
    assert (workdir / 'config.json').read_bytes() == (whole[0] / 'config.json').read_bytes()


LOGS = ('metrics.jsonl', 'timing.jsonl', 'diversity.jsonl')


@pytest.mark.slow
@pytest.mark.parametrize(
    'damage',
    [
        lambda log: log[:-7],
        lambda log: log + JUNK,
        lambda log: b'',
        lambda log: None,
        lambda log: b'[]\n3\n{"step": 3}\n' + log,
        lambda log: b'\0' * 5000,
    ],
)
def test_damaged_logs_do_not_stop_a_run(workdir, whole, damage):
    """Whole lines of steps that are not made again stay."""
    put_a_file(newest(workdir))
    kept = []
    for name in LOGS:
        path = workdir / name
        content = damage(path.read_bytes())
        path.unlink() if content is None else path.write_bytes(content)
        if name == LOGS[0]:
            lines = (content or b'').splitlines(keepends=True)
            good = (whole[0] / name).read_bytes().splitlines(keepends=True)
            kept = [line for line in good[:2] if line in lines]
    result = train(workdir)
    chex.assert_trees_all_equal(arrays_of(result.state), arrays_of(whole[1].state))
    lines = (workdir / LOGS[0]).read_bytes().splitlines(keepends=True)
    assert lines[-2:] == good[2:]
    assert [line for line in lines if line in good[:2]] == kept


def test_those_who_read_a_damaged_run(workdir, whole, caplog):
    good = sampling.Sampler(whole[0], 2)
    put_a_file(newest(workdir))
    before = snapshot(workdir)
    for read in (sampling.Sampler, teachers.load):
        caplog.clear()
        found = read(workdir)
        assert found.step == 2
        assert f'{newest(workdir)} is damaged (it is not a directory)' in caplog.text
    chex.assert_trees_all_equal(sampling.Sampler(workdir).variables, good.variables)
    cut(workdir / 'checkpoints' / '2')
    for read in (sampling.Sampler, teachers.load):
        with pytest.raises(checkpoints.CheckpointError, match='none of the 2 checkpoints'):
            read(workdir)
    # Those who read leave everything as it is, for a run may be alive there.
    cut_away = {name for name in before if name.startswith('checkpoints/2/')}
    after = snapshot(workdir)
    assert {k: v for k, v in after.items() if k not in cut_away} == {
        k: v for k, v in before.items() if k not in cut_away
    }
    assert after.keys() == before.keys()
