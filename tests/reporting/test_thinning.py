"""Sample grids of a long run: few, evenly spread, and the same after interruptions."""

import pytest

from osgan_jax.reporting import thinning


def names(directory):
    return sorted(int(path.stem.removeprefix('step_')) for path in directory.glob('step_*.png'))


def write(directory, step, every=10, at_most=5):
    directory.mkdir(exist_ok=True)
    (directory / f'step_{step:07d}.png').touch()
    thinning.thin(directory, step, every, at_most)


@pytest.mark.parametrize(
    ('step', 'expected'),
    [(0, 10), (30, 10), (39, 10), (40, 20), (70, 20), (80, 40), (160, 80), (10**6, 327_680)],
)
def test_distance_doubles(step, expected):
    assert thinning.distance(step, 10, 4) == expected


def test_few_are_all_kept(tmp_path):
    for step in (0, 10, 20, 30):
        write(tmp_path, step)
    assert names(tmp_path) == [0, 10, 20, 30]
    (tmp_path / 'step_0000015.png').touch()  # of a run that ended there and was prolonged
    (tmp_path / 'notes.txt').touch()
    write(tmp_path, 40)
    assert names(tmp_path) == [0, 20, 40]
    write(tmp_path, 50)
    assert names(tmp_path) == [0, 20, 40, 50]
    write(tmp_path, 60)
    assert names(tmp_path) == [0, 20, 40, 60]
    assert (tmp_path / 'notes.txt').exists()


@pytest.mark.parametrize('at_most', [3, 4, 5, 8, 256])
def test_never_more_than_asked_for_and_never_less_than_half(tmp_path, at_most):
    for step in range(0, 1000, 10):
        write(tmp_path, step, at_most=at_most)
        kept = names(tmp_path)
        assert len(kept) <= at_most
        assert len(kept) >= min(step // 10 + 1, at_most // 2)
        assert kept[0] == 0
        assert kept[-1] == step


def test_an_interrupted_run_keeps_what_a_whole_one_keeps(tmp_path):
    for step in range(0, 400, 10):
        write(tmp_path / 'whole', step)
    for step in [*range(0, 260, 10), *range(90, 400, 10)]:  # killed after 250, saved at 80
        write(tmp_path / 'parts', step)
    assert names(tmp_path / 'parts') == names(tmp_path / 'whole')
