"""Who may go on with a run, and open its images again."""

import dataclasses

import numpy as np
import pytest

from osgan_jax import data
from osgan_jax.data import identity
from osgan_jax.engine import resuming, runs
from tests.support import small


def make_run(dataset, **fields):
    config = small.resolve(small.make_config(**fields))
    source = identity.identify(dataset)
    return runs.Run(config, small.CLASSES, (), len(dataset), source)


def named(name='digits', shift=0, count=small.EXAMPLES):
    images = np.arange(count * 64, dtype=np.uint8).reshape(count, 8, 8, 1) + np.uint8(shift)
    return data.from_arrays(images, name=name)


def test_a_run_is_not_resumed_with_other_images(tmp_path):
    saved = make_run(named())
    resuming.check_same(tmp_path, saved, make_run(named()))
    resuming.check_same(tmp_path, dataclasses.replace(saved, source=None), make_run(named(shift=1)))
    with pytest.raises(ValueError, match='the dataset had other images or labels there'):
        resuming.check_same(tmp_path, saved, make_run(named(shift=1)))
    # Opened by name where a program gave them.
    given = make_run(named('arrays'))
    for other in (named(shift=1), named(count=30)):
        with pytest.raises(ValueError, match=r"passed 'arrays' as arrays: from Python, pass them"):
            resuming.check_same(tmp_path, given, make_run(other))
    with pytest.raises(ValueError) as refusal:
        resuming.check_same(tmp_path, given, make_run(named('arrays', count=30)))
    assert 'from Python' not in str(refusal.value)


def test_a_part_may_be_called_otherwise_only_if_it_is_known_to_be_the_same(tmp_path):
    saved, now = make_run(named(), split='test'), make_run(named(), split='train')
    resuming.check_same(tmp_path, saved, now, now.config)
    old = dataclasses.replace(saved, source=None)
    resuming.check_same(tmp_path, old, saved)
    with pytest.raises(ValueError, match=r"split is 'test' there and 'train' now \(--data_changed"):
        resuming.check_same(tmp_path, old, now, now.config)
    without_images = dataclasses.replace(old, num_examples=0)
    resuming.check_same(tmp_path, without_images, dataclasses.replace(now, num_examples=0))


def test_what_nobody_asked_for_is_not_to_be_left_out(tmp_path):
    saved, now = make_run(named(), seed=1), make_run(named(), seed=2)
    asked = type(now.config)
    with pytest.raises(ValueError, match=r'seed is 1 there and 2 now\. Leave this out'):
        resuming.check_same(tmp_path, saved, now, asked(seed=2))
    with pytest.raises(ValueError, match=r'2 now\. This follows from the teacher, the dataset or'):
        resuming.check_same(tmp_path, saved, now, asked())


def test_a_dataset_is_reopened_only_if_it_is_the_same():
    run, advice = make_run(named()), 'give it'
    opened = resuming.reopen(run, 'the run', named, advice)
    assert opened.name == 'digits'
    for other, clause in [
        (named(shift=1), 'its images or labels are others'),
        (named(count=30), 'it had 40 images and has 30'),
    ]:
        with pytest.raises(ValueError, match=f'the run was trained on images other than.*{clause}'):
            resuming.reopen(run, 'the run', lambda other=other: other, advice)
    # What a program gave is not even looked for.
    given = make_run(named('arrays'))
    with pytest.raises(
        ValueError, match=r"40 images called 'arrays' that a program passed as arrays, .*: give it"
    ):
        resuming.reopen(given, 'the run', lambda: pytest.fail('opened'), advice)
    believed = dataclasses.replace(given, source=None)
    assert len(resuming.reopen(believed, 'the run', named, advice)) == 40


def test_class_names_are_part_of_a_run(tmp_path):
    images, labels = np.zeros((4, 8, 8, 1), np.uint8), [0, 1, 0, 1]

    def opened(*names):
        return data.from_arrays(images, labels, class_names=names)

    def made(*names):
        return dataclasses.replace(make_run(opened(*names)), class_names=names)

    saved = made('cat', 'dog')
    resuming.check_same(tmp_path, saved, made('cat', 'dog'))
    # Numbers are not names.
    resuming.check_same(tmp_path, saved, made('0', '1'))
    resuming.check_same(tmp_path, dataclasses.replace(saved, class_names=()), made('a', 'b'))
    for names, clause in [
        (('dog', 'cat'), r'its classes were in another order \(dog had the label 1 and has 0\)'),
        (('cat', 'cow'), 'its classes are others: .* without dog and with cow'),
    ]:
        with pytest.raises(ValueError, match=f'another configuration: the dataset: {clause}'):
            resuming.check_same(tmp_path, saved, made(*names))
        saved_arrays = dataclasses.replace(
            saved, config=dataclasses.replace(saved.config, dataset='arrays')
        )
        with pytest.raises(ValueError, match=f'trained on images other than .*{clause}'):
            resuming.reopen(saved_arrays, 'the run', lambda names=names: opened(*names), 'advice')
