"""Training on folders with bad files: some bad before a run, one that goes bad during it."""

import dataclasses

import chex
import jax
import numpy as np
import pytest

from osgan_jax.data import images
from osgan_jax.engine import checkpoints
from osgan_jax.gan import trainer
from tests.support import hostile, small

BAD = ('half.png', 'esc \x1b[31m \x07.png')


def fill(root, count):
    root.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        array = rng.integers(0, 256, (small.SIZE, small.SIZE, 3), dtype=np.uint8)
        (root / f'{number:02}.png').write_bytes(images.to_png(array))


def damage(path, how):
    if how == 'gone':
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:300])


def files_of(workdir):
    """What must be the same however a run was fed."""
    samples = sorted((workdir / 'samples').iterdir())
    log = (workdir / 'metrics.jsonl').read_bytes()
    return {'metrics': log, **{path.name: path.read_bytes() for path in samples}}


def arrays_of(result):
    state = result.state
    return jax.device_get(dataclasses.replace(state, key=jax.random.key_data(state.key)))


def config(root, **fields):
    values = {'dataset': 'folder', 'data_dir': str(root), 'flip': True, 'log_every': 1}
    return small.make_config(**values, sample_every=10, **fields)


@pytest.mark.process
@pytest.mark.slow
def test_five_bad_files_in_a_hundred_and_any_number_of_workers(tmp_path, monkeypatch, capsys):
    fill(tmp_path / 'root', 38)
    for file in hostile.FILES:
        if file.name in BAD:
            file.make(tmp_path / 'root' / file.name)
    found = []
    for num_workers in (0, 1, 3):
        # What one run remembers of the files, the next must find for itself.
        monkeypatch.setenv('OSGAN_JAX_CACHE', str(tmp_path / f'cache{num_workers}'))
        asked = config(tmp_path / 'root', num_workers=num_workers, num_steps=20)
        report = trainer.open_dataset(asked).report
        workdir = tmp_path / f'run{num_workers}'
        arrays = arrays_of(trainer.train(asked, workdir))
        out = capsys.readouterr().out
        assert 'skipped 2 of 40' in out
        assert '\x1b[31m' not in out
        found.append((report, arrays, files_of(workdir)))
    first = found[0]
    assert first[0].startswith('skipped 2 of 40: ')
    for other in found[1:]:
        assert other[0] == first[0]
        chex.assert_trees_all_equal(other[1], first[1])
        assert other[2] == first[2]


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize(('how', 'num_workers'), [('gone', 0), ('cut', 2)])
def test_a_file_that_goes_bad_during_training(tmp_path, monkeypatch, how, num_workers):
    fill(tmp_path / 'root', 24)
    asked = config(tmp_path / 'root', num_workers=num_workers, num_steps=30, save_every=2)
    # How many workers read changes nothing, see above.
    whole = trainer.train(dataclasses.replace(asked, num_workers=0), tmp_path / 'whole')
    path = tmp_path / 'root' / '05.png'
    content = path.read_bytes()
    save = checkpoints.Checkpoints.save

    def save_then_damage(self, step, *arguments, **options):
        save(self, step, *arguments, **options)
        if step == 4:
            damage(path, how)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints.Checkpoints, 'save', save_then_damage)
        with pytest.raises(
            ValueError, match=r'05.png was readable .*restore it to resume'
        ) as error:
            trainer.train(asked, tmp_path / 'run')
    assert str(error.value).isprintable()
    with checkpoints.Checkpoints(tmp_path / 'run', read_only=True) as saved:
        assert 4 <= saved.latest_step() < 30
    # Without it the order of images would be another.
    with pytest.raises(ValueError, match='had 24 images there and has 23 now'):
        trainer.train(asked, tmp_path / 'run')
    path.write_bytes(content)
    result = trainer.train(asked, tmp_path / 'run')
    chex.assert_trees_all_equal(arrays_of(result), arrays_of(whole))
    assert files_of(tmp_path / 'run') == files_of(tmp_path / 'whole')
