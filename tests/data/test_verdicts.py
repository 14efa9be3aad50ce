import numpy as np

from osgan_jax.data import verdicts
from osgan_jax.data.facts import Facts
from osgan_jax.data.images import InaccessibleImageError, UnreadableImageError

FACTS = Facts(40, 30, True, False, 0, 1, 'RGB', False)


def judge(files, root='/root', checked=None, **origin):
    """Judges `{name: (size, stamp, Facts or error)}` and notes what was inspected."""
    names = list(files)
    columns = np.asarray([files[name][:2] for name in names], np.int64).reshape(-1, 2)

    def inspect(index):
        if checked is not None:
            checked.append(names[index])
        found = files[names[index]][2]
        if isinstance(found, Exception):
            raise found
        return found

    return verdicts.judge(root, names, columns[:, 0], columns[:, 1], inspect, **origin)


def test_files_are_judged_again_when_they_change_and_by_name(monkeypatch, tmp_path):
    monkeypatch.setenv('OSGAN_JAX_CACHE', str(tmp_path))
    files = {
        'b': (1, 10, FACTS),
        'a': (2, 20, UnreadableImageError('broken')),
        'c': (3, 30, InaccessibleImageError('no permission')),
        'd': (4, 40, FACTS._replace(width=7, mode='I;16')),
    }
    first = judge(files)
    assert first.unreadable == {1: 'broken', 2: 'no permission'}
    assert first.readable().tolist() == [0, 3]
    assert [Facts(*row) for row in first.facts[[0, 3]].tolist()] == [
        FACTS._replace(mode=b'RGB'),
        FACTS._replace(width=7, mode=b'I;16'),
    ]
    checked = []
    again = judge(files, checked=checked)
    assert checked == ['c']  # nothing was decided of it
    assert again.unreadable == first.unreadable
    np.testing.assert_array_equal(again.facts, first.facts)
    # Another order, one gone, one new, and one of another size and another stamp each.
    files = {
        'd': files['d'],
        'new': (9, 90, UnreadableImageError('other')),
        'b': (1, 11, FACTS),
        'a': (5, 20, FACTS),
    }
    checked.clear()
    third = judge(files, checked=checked)
    assert sorted(checked) == ['a', 'b', 'new']
    assert third.unreadable == {1: 'other'}
    assert third.facts['width'].tolist() == [7, 0, 40, 40]
    checked.clear()
    assert judge(files, checked=checked, archive=[1]).unreadable == {1: 'other'}
    assert len(checked) == 4  # another origin


def test_no_files_are_judged(monkeypatch, tmp_path):
    monkeypatch.setenv('OSGAN_JAX_CACHE', str(tmp_path))
    assert judge({}).readable().tolist() == []
    judge({'a': (1, 1, FACTS)})
    assert judge({}).readable().tolist() == []
    checked = []
    judge({'a': (1, 1, FACTS)}, checked=checked)
    assert checked == ['a']
