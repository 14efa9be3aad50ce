"""Checkpoints: every kind of damage is detected, said, and passed over."""

import errno
import gc
import os
import pathlib
import shutil

import numpy as np
import pytest

from osgan_jax.engine import checkpoints
from osgan_jax.engine.checkpoints import manifest, quiet_orbax
from tests.support.saving import assert_same, files_of, make_state, save_steps


def truncate(directory):
    path = max(files_of(directory), key=lambda p: p.stat().st_size)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose_data(directory):
    shutil.rmtree(directory / 'arrays' / 'd')


def lose_manifest(directory):
    (directory / 'manifest' / 'metadata').unlink()


def edit_manifest(directory):
    path = directory / 'manifest' / 'metadata'
    path.write_text(path.read_text().replace('"at ', '"at 1').replace('"step":', '"step": 1'))


def empty(directory):
    for path in files_of(directory):
        path.write_bytes(b'')


def put_a_file(directory):
    shutil.rmtree(directory)
    directory.write_text('not a checkpoint')


def link_elsewhere(directory):
    elsewhere = directory.parents[1] / 'elsewhere'
    directory.rename(elsewhere)
    directory.symlink_to(elsewhere)


def link_nowhere(directory):
    shutil.rmtree(directory)
    directory.symlink_to('nowhere')


def rename_another(directory):
    shutil.rmtree(directory)
    shutil.copytree(directory.parent / '1', directory)


def link_within(directory):
    (directory / 'arrays' / 'more').symlink_to('/etc')


DAMAGES = [
    truncate,
    lose_data,
    lose_manifest,
    edit_manifest,
    empty,
    put_a_file,
    link_elsewhere,
    link_nowhere,
    rename_another,
    link_within,
]


@pytest.mark.parametrize('damage', DAMAGES)
def test_damaged_newest_is_reported_and_passed_over(tmp_path, damage, caplog, capfd):
    save_steps(tmp_path, [1, 2])
    damage(tmp_path / 'checkpoints' / '2')
    warnings = []
    with checkpoints.Checkpoints(tmp_path, warn=warnings.append) as saved:
        with pytest.raises(checkpoints.CheckpointError, match=r'2 is damaged .* another step'):
            saved.restore(make_state(), step=2)
        restored = saved.restore(make_state())
        assert (restored.step, restored.iterator_state) == (1, b'at 1')
        assert_same(restored.state, make_state(1))
        (line,) = warnings
        assert 'checkpoints/2 is damaged' in line
        assert 'step 1 instead' in line
        assert '\n' not in line
        # Training reaches step 2 once more and can save it.
        assert saved.save(2, make_state(2))
        saved.wait()
        assert saved.restore(make_state()).step == 2
    assert os.path.lexists(tmp_path / 'checkpoints_damaged' / '2')
    gc.collect()
    assert caplog.records == []
    assert capfd.readouterr() == ('', '')


@pytest.mark.slow
def test_no_flipped_byte_is_believed(tmp_path):
    """Each byte of a stride over all files is flipped: the old state or an error, never another."""
    save_steps(tmp_path, [1])
    rng = np.random.default_rng(0)
    detected = 0
    with checkpoints.Checkpoints(tmp_path, read_only=True) as saved:
        for path in files_of(tmp_path / 'checkpoints'):
            good = path.read_bytes()
            for position in rng.integers(len(good), size=6):
                bad = bytearray(good)
                bad[position] ^= 1 << int(rng.integers(8))
                path.write_bytes(bad)
                try:
                    assert_same(saved.restore(make_state()).state, make_state(1))
                except checkpoints.CheckpointError:
                    detected += 1
            path.write_bytes(good)
    assert detected >= 12


def test_checksum_finds_what_the_format_does_not(tmp_path, monkeypatch):
    save_steps(tmp_path, [1, 2])
    read = quiet_orbax.load().CheckpointManager.restore

    def flipping(self, step, args):
        result = read(self, step, args=args)
        if step == 2 and 'arrays' in result:
            result['arrays']['params/odd'].view(np.uint8)[7] ^= 1
        return result

    monkeypatch.setattr(quiet_orbax.load().CheckpointManager, 'restore', flipping)
    warnings = []
    with checkpoints.Checkpoints(tmp_path, warn=warnings.append) as saved:
        assert saved.restore(make_state()).step == 1
    assert 'params/odd does not match its checksum' in warnings[0]


def test_nothing_good_left_is_an_error_not_a_restart(tmp_path):
    save_steps(tmp_path, [1, 2])
    for step in '12':
        truncate(tmp_path / 'checkpoints' / step)
    with checkpoints.Checkpoints(tmp_path) as saved:
        with pytest.raises(checkpoints.CheckpointError, match='none of the 2 checkpoints'):
            saved.restore(make_state())
        assert saved.steps() == [1, 2]


@pytest.mark.parametrize('damage', [put_a_file, link_nowhere])
def test_what_lies_in_the_place_of_the_only_checkpoint_is_no_fresh_start(tmp_path, damage):
    save_steps(tmp_path, [1])
    damage(tmp_path / 'checkpoints' / '1')
    for read_only in (True, False):
        with checkpoints.Checkpoints(tmp_path, read_only=read_only) as saved:
            assert saved.latest_step() == 1
            with pytest.raises(checkpoints.CheckpointError, match=r'none of .*not a directory'):
                saved.restore(make_state())


def test_damaged_checkpoints_of_one_step_are_all_kept(tmp_path):
    for _ in range(3):
        save_steps(tmp_path, [1, 2])
        truncate(tmp_path / 'checkpoints' / '2')
        with checkpoints.Checkpoints(tmp_path, warn=lambda text: None) as saved:
            assert saved.restore(make_state()).step == 1
    assert sorted(os.listdir(tmp_path / 'checkpoints_damaged')) == ['2', '2.1', '2.2']


@pytest.mark.slow
def test_each_file_removed_emptied_cut_and_changed(tmp_path):
    """The newest checkpoint, to the bit and without a word, or the one before and a warning."""
    save_steps(tmp_path, [1, 2])
    directory = tmp_path / 'checkpoints' / '2'
    passed_over = 0
    with checkpoints.Checkpoints(tmp_path, read_only=True, warn=(said := []).append) as saved:
        for path in files_of(directory):
            good = path.read_bytes()
            flipped = bytearray(good)
            flipped[len(good) // 2] ^= 0x10
            for bad in (None, b'', good[: len(good) // 2], bytes(flipped), good + good):
                path.unlink()
                if bad is not None:
                    path.write_bytes(bad)
                said.clear()
                restored = saved.restore(make_state())
                assert_same(restored.state, make_state(restored.step))
                assert [f'{directory} is damaged' in line for line in said] == (
                    [True] if restored.step == 1 else []
                )
                passed_over += restored.step == 1
                path.write_bytes(good)
    assert passed_over >= 15


def test_no_checkpoint(tmp_path, opened):
    with pytest.raises(checkpoints.CheckpointError, match='there is no checkpoint in'):
        opened.restore(make_state())
    with checkpoints.Checkpoints(tmp_path / 'none', read_only=True) as saved:
        assert saved.steps() == []
        with pytest.raises(checkpoints.CheckpointError, match='there is no checkpoint in'):
            saved.restore(make_state())
    assert not (tmp_path / 'none').exists()


def test_newer_format_is_refused(opened, monkeypatch):
    monkeypatch.setattr(manifest, 'FORMAT', 2)
    opened.save(1, make_state(), wait=True)
    monkeypatch.undo()
    with pytest.raises(checkpoints.CheckpointError, match=r'has format 2 .* reads up to 1'):
        opened.restore(make_state())


def test_leftovers_of_an_interrupted_save_are_ignored_and_removed(tmp_path):
    save_steps(tmp_path, [1])
    directory = tmp_path / 'checkpoints'
    left = directory / '2.orbax-checkpoint-tmp'
    os.rename(directory / '1', left)
    save_steps(tmp_path, [1])
    (directory / 'notes.txt').write_text('mine')
    with checkpoints.Checkpoints(tmp_path) as saved:
        assert saved.steps() == [1]
        assert saved.restore(make_state()).step == 1
    assert sorted(os.listdir(directory)) == ['1', 'notes.txt']


PASSING = [
    PermissionError(errno.EACCES, 'Permission denied'),
    MemoryError(),
    OSError(errno.EMFILE, ''),
]


@pytest.mark.parametrize('error', PASSING, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize('where', ['manifest', 'arrays'])
def test_what_may_pass_is_no_damage(tmp_path, monkeypatch, where, error):
    """The newest checkpoint may be good: it is neither moved away nor passed over."""
    save_steps(tmp_path, [1, 2])

    def fail(*unused, **options):
        raise error

    with monkeypatch.context() as patched:
        if where == 'manifest':
            patched.setattr(pathlib.Path, 'read_bytes', fail)
        else:
            patched.setattr(quiet_orbax.load().CheckpointManager, 'restore', fail)
        with (
            checkpoints.Checkpoints(tmp_path) as saved,
            pytest.raises(checkpoints.CheckpointError, match='/2 cannot be read just now'),
        ):
            saved.restore(make_state())
    with checkpoints.Checkpoints(tmp_path) as saved:
        assert saved.restore(make_state()).step == 2
    assert not (tmp_path / 'checkpoints_damaged').exists()
