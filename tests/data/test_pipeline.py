import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from osgan_jax import data
from tests.support.marks import slow_but


def numbered(count, **options):
    """Image i is filled with i, and so labelled."""
    values = np.arange(count, dtype=np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (count, 4, 4, 3)).copy()
    return data.from_arrays(images, values.astype(int), **options)


def indices(batch):
    """Which images a batch of `numbered` holds, checking that labels follow images."""
    found = batch['image'][:, 0, 0, 0].astype(int)
    np.testing.assert_array_equal(found, batch['label'])
    return found.tolist()


def take(iterator, count):
    return [indices(next(iterator)) for _ in range(count)]


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """A folder of 24 JPEG images, read and decoded by grain."""
    root = tmp_path_factory.mktemp('photos')
    generator = np.random.default_rng(0)
    for number in range(24):
        folder = root / f'{number % 3}'
        folder.mkdir(exist_ok=True)
        array = generator.integers(0, 256, (20, 16, 3), dtype=np.uint8)
        Image.fromarray(array).save(folder / f'{number:02}.jpg')
    return root


def equal(left, right):
    for key in ('image', 'label'):
        np.testing.assert_array_equal(left[key], right[key])


def test_what_a_batch_is():
    batch = next(data.batches(numbered(10), 4, seed=0))
    assert (batch['image'].shape, batch['image'].dtype) == ((4, 4, 4, 3), np.uint8)
    assert (batch['label'].shape, batch['label'].dtype) == ((4,), np.int32)


def test_an_epoch_is_every_image_once_and_the_remainder_is_dropped():
    iterator = data.batches(numbered(23), 5, seed=0)
    assert iterator.steps_per_epoch == 4
    for _ in range(3):
        epoch = [*itertools.chain(*take(iterator, 4))]
        assert len(set(epoch)) == 20
        assert set(epoch) <= set(range(23))


def test_every_epoch_has_its_own_order_and_the_seed_decides_it():
    def epochs(seed):
        iterator = data.batches(numbered(32), 32, seed=seed)
        return [tuple(epoch) for epoch in take(iterator, 5)]

    assert len(set(epochs(0))) == 5
    assert epochs(0) == epochs(0)
    assert not set(epochs(0)) & set(epochs(1))
    assert all(sorted(epoch) == list(range(32)) for epoch in epochs(0))


def test_number_of_epochs():
    assert len(list(data.batches(numbered(10), 3, seed=0, num_epochs=2))) == 6
    assert list(data.batches(numbered(10), 3, seed=0, num_epochs=0)) == []


@pytest.mark.parametrize('process_count', [2, 3])
def test_processes_share_each_batch_of_a_single_one(process_count):
    single = data.batches(numbered(30), 12, seed=5)
    shards = [
        data.batches(numbered(30), 12, seed=5, process_index=index, process_count=process_count)
        for index in range(process_count)
    ]
    for _ in range(5):
        rows = [indices(next(shard)) for shard in shards]
        assert all(len(part) == 12 // process_count for part in rows)
        assert [*itertools.chain(*rows)] == indices(next(single))


def test_flip_mirrors_about_half_and_is_decided_by_the_seed():
    images = np.zeros((200, 4, 4, 1), np.uint8)
    images[:, :, 0] = 255

    def flipped(flip, seed=0, epoch=0, **options):
        iterator = data.batches(data.from_arrays(images, flip=flip), 200, seed=seed, **options)
        batch = [next(iterator) for _ in range(epoch + 1)][-1]['image'][..., 0]
        left, right = batch[:, :, 0] == 255, batch[:, :, 3] == 255
        assert np.all(left ^ right)
        return right[:, 0]

    assert not flipped(False).any()
    assert 60 < flipped(True).sum() < 140
    np.testing.assert_array_equal(flipped(True), flipped(True))
    assert np.any(flipped(True) != flipped(True, epoch=1))
    assert np.any(flipped(True) != flipped(True, seed=1))
    assert not images[:, :, 1:].any(), 'the images themselves must stay'
    dataset = data.from_arrays(images, flip=True)
    np.testing.assert_array_equal(dataset[3]['image'], images[3])


def test_resuming_in_memory():
    iterator = data.batches(numbered(20, flip=True), 6, seed=2)
    for steps in (0, 1, 2, 7):
        take(iterator, steps)
        state = iterator.get_state()
        assert isinstance(state, bytes)
        expected = take(iterator, 8)
        again = data.batches(numbered(20, flip=True), 6, seed=2)
        again.set_state(state)
        assert again.get_state() == state
        assert take(again, 8) == expected
        iterator.set_state(state)


def test_a_state_may_move_between_numbers_of_processes():
    iterator = data.batches(numbered(20), 4, seed=2)
    take(iterator, 7)
    state = iterator.get_state()
    expected = indices(next(iterator))
    half = data.batches(numbered(20), 4, seed=2, process_index=1, process_count=2)
    half.set_state(state)
    assert indices(next(half)) == expected[2:]


def test_a_state_of_another_run_is_refused():
    state = data.batches(numbered(20), 4, seed=2).get_state()
    with pytest.raises(ValueError, match='seed was 2, is 3'):
        data.batches(numbered(20), 4, seed=3).set_state(state)
    with pytest.raises(ValueError, match='batch_size was 4, is 5; num_images was 20, is 21'):
        data.batches(numbered(21), 5, seed=2).set_state(state)
    for wrong in (b'', b'{}', b'[1]', b'3', b'\xff', b'{"version": 1, "step": null}'):
        with pytest.raises(ValueError, match='not a saved state'):
            data.batches(numbered(20), 4, seed=2).set_state(wrong)
    with pytest.raises(ValueError, match='version 9'):
        data.batches(numbered(20), 4, seed=2).set_state(b'{"version": 9, "step": 0}')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'batch_size': 0}, 'batch_size: expected at least 1, got 0'),
        ({'batch_size': 21}, r'batch_size 21 is more than the 20 images of arrays \(train\)'),
        ({'seed': -1}, 'seed: expected at least 0'),
        ({'num_workers': -1}, 'num_workers: expected at least 0'),
        ({'num_epochs': -1}, 'num_epochs: expected at least 0'),
        ({'process_index': 1}, 'process_index: expected 0 to 0, got 1'),
        ({'process_count': 3}, 'batch_size 4 does not divide among 3 processes'),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.batches(numbered(20), **{'batch_size': 4, 'seed': 0, **arguments})


def test_closed():
    iterator = data.batches(numbered(20), 4, seed=0)
    next(iterator)
    iterator.close()
    iterator.close()
    with pytest.raises(ValueError, match='closed'):
        next(iterator)


def test_grain_reads_what_memory_gathers(photos):
    dataset = data.load('folder', data_dir=photos, image_size=12, flip=True)
    rows = list(dataset)
    memory = data.from_arrays(
        np.stack([row['image'] for row in rows]), [int(row['label']) for row in rows], flip=True
    )
    assert dataset.num_classes == 3
    expected = data.batches(memory, 5, seed=4, num_epochs=3)
    with data.batches(dataset, 5, seed=4, num_epochs=3) as iterator:
        count = 0
        for batch in iterator:
            equal(batch, next(expected))
            assert type(batch['image']) is type(batch['label']) is np.ndarray
            count += 1
    assert count == 3 * 4


@pytest.mark.process
def test_worker_processes_change_nothing_and_a_state_moves_between_their_numbers(photos):
    dataset = data.load('folder', data_dir=photos, image_size=12, flip=True)
    with data.batches(dataset, 5, seed=4) as threaded:
        expected = [next(threaded) for _ in range(14)]
        states = data.batches(dataset, 5, seed=4)
        with data.batches(dataset, 5, seed=4, num_workers=2) as spawned:
            for batch in expected[:6]:
                equal(next(spawned), batch)
            state = spawned.get_state()
            # Across the end of an epoch, then back again.
            for batch in expected[6:]:
                equal(next(spawned), batch)
            states.set_state(state)
            equal(next(states), expected[6])
            spawned.set_state(states.get_state())
            equal(next(spawned), expected[7])
            assert type(batch['label']) is np.ndarray
        states.close()
    assert not multiprocessing.active_children()


@pytest.mark.process
@pytest.mark.parametrize('num_workers', [0, 1])
def test_an_unreadable_image_is_an_error_of_its_own_kind_and_can_be_retried(tmp_path, num_workers):
    for name in 'abcd':
        Image.new('RGB', (8, 8)).save(tmp_path / f'{name}.png')
    dataset = data.load('folder', data_dir=tmp_path, image_size=8, channels=3)
    content = (tmp_path / 'c.png').read_bytes()
    (tmp_path / 'c.png').write_bytes(content[:30])
    with data.batches(dataset, 4, seed=0, num_workers=num_workers) as iterator:
        with pytest.raises(ValueError, match=r'c.png was readable when the folder was opened'):
            next(iterator)
        assert b'"step": 0' in iterator.get_state()
        (tmp_path / 'c.png').write_bytes(content)
        assert next(iterator)['image'].shape == (4, 8, 8, 3)


SCRIPT = """
import sys
import numpy as np
from osgan_jax import data

def main(arguments):
    dataset = data.load('folder', data_dir=arguments[1], image_size=12)
    iterator = data.batches(dataset, 5, seed=4, num_workers=2)
    ahead = data.prefetch(iterator, 2, lambda batch: batch)
    print(float(np.mean([next(ahead)['image'].sum() for _ in range(3)])))

"""
GUARDED = "if __name__ == '__main__':\n    "


@pytest.mark.process
@pytest.mark.parametrize('how', slow_but(['script', 'module', 'absl'], 'absl'))
def test_worker_processes_from_a_program_that_does_not_even_close(photos, tmp_path, how):
    start = 'from absl import app\n    app.run(main)' if how == 'absl' else 'main(sys.argv)'
    (tmp_path / 'program.py').write_text(SCRIPT + GUARDED + start)
    done = run(tmp_path, ['-m', 'program'] if how == 'module' else ['program.py'], photos)
    assert (done.returncode, done.stderr) == (0, '')
    with data.batches(data.load('folder', data_dir=photos, image_size=12), 5, seed=4) as iterator:
        expected = np.mean([next(iterator)['image'].sum() for _ in range(3)])
    assert float(done.stdout) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.process
def test_a_program_without_guard_is_told_so(photos, tmp_path):
    (tmp_path / 'program.py').write_text(SCRIPT + 'main(sys.argv)')
    done = run(tmp_path, ['program.py'], photos)
    assert done.returncode != 0
    assert "under `if __name__ == '__main__':`" in done.stderr


@pytest.mark.process
def test_worker_processes_end_when_the_program_is_killed(photos, tmp_path):
    program = SCRIPT.replace(
        'print(',
        'next(ahead)\n    import multiprocessing, time\n'
        '    print(*[child.pid for child in multiprocessing.active_children()], flush=True)\n'
        '    time.sleep(100)\n    print(',
    )
    (tmp_path / 'program.py').write_text(program + GUARDED + 'main(sys.argv)')
    root = os.path.dirname(os.path.dirname(os.path.dirname(data.__file__)))
    with subprocess.Popen(
        [sys.executable, 'program.py', str(photos)],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': root},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        workers = [int(pid) for pid in process.stdout.readline().split()]
        assert len(workers) == 2
        for pid in workers:
            os.kill(pid, signal.SIGINT)
        time.sleep(0.2)
        for pid in workers:
            os.kill(pid, 0)  # raises if Ctrl-C ended it: that is for the main process to handle
        process.kill()
        # The pipe ends when the last process that holds it does.
        process.communicate(timeout=20)


def run(folder, arguments, photos):
    root = os.path.dirname(os.path.dirname(os.path.dirname(data.__file__)))
    return subprocess.run(
        [sys.executable, *arguments, str(photos)],
        capture_output=True,
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': root},
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.process
def test_training_from_arrays_needs_neither_grain_nor_tfds():
    program = (
        'import sys\n'
        "absent = ('grain', 'tensorflow_datasets', 'PIL')\n"
        'sys.modules.update(dict.fromkeys(absent))\n'
        'import numpy as np\n'
        'from osgan_jax import data\n'
        'dataset = data.from_arrays(np.zeros((8, 4, 4, 1), np.uint8))\n'
        "print(next(data.batches(dataset, 4, seed=0))['image'].shape, 'sklearn' in sys.modules)\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(data.__file__)))
    done = subprocess.run(
        [sys.executable, '-c', program],
        capture_output=True,
        env={**os.environ, 'PYTHONPATH': root},
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stderr, done.stdout) == ('', '(4, 4, 4, 1) False\n')
