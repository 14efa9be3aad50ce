"""The configurations of Table 2's cells."""

import dataclasses

import pytest

from experiments.studies.records import Cell
from experiments.table2 import plans
from osgan_jax.distillation import learners
from osgan_jax.distillation.config import DistillConfig, TeacherConfig

TEACHER = TeacherConfig(
    dataset='digits', network='lenet5', image_size=32, channels=1, mean=(0.5,), std=(0.25,)
)
KNOWN_TEACHER = plans.Teacher(TEACHER, 'a digest', 40)


def make_settings(shared=None, **fields):
    values = {'batch_size': 8, 'num_devices': 1, **(shared or {})}
    return plans.Settings(DistillConfig(**values), **fields)


def plan(name, seed=0, shared=None, **fields):
    return plans.plan(make_settings(shared, **fields), Cell((name,), seed), KNOWN_TEACHER)


@pytest.mark.parametrize(
    ('names', 'seeds', 'message'),
    [
        (['gan'], [0], "algorithms='gan'"),
        (['kd', 'kd'], [0], 'each once'),
        ([], [0], 'algorithms='),
        (['kd'], [1, 1], 'each once'),
        (['kd'], [], 'seeds='),
    ],
)
def test_unknown_repeated_and_absent_cells_are_refused(names, seeds, message):
    with pytest.raises(ValueError, match=message):
        plans.make_cells(names, seeds)


@pytest.mark.parametrize(
    ('name', 'rounds', 'every', 'published'),
    [
        ('kd', 100, 20, 1000),  # 200 epochs of 40 images, 8 a batch
        ('zskt', 10, 2, 80_000),
        ('dfad', 20, 4, 25_000),
        ('one_stage', 100, 20, 25_000),
        ('one_stage_kl', 100, 20, 25_000),
        ('supervised', 100, 20, 1000),
    ],
)
def test_cells_are_equal_in_updates_of_the_student(name, rounds, every, published):
    planned = plan(name, student_updates=100, eval_updates=20)
    assert (planned.config.num_steps, planned.config.eval_every) == (rounds, every)
    assert planned.published == published
    assert planned.config.num_steps * learners.updates_a_round(planned.config) == 100
    assert learners.architecture(planned.config) == 'lenet5_half'


@pytest.mark.parametrize(
    ('name', 'rounds', 'every'),
    [('kd', 15, 1), ('zskt', 1200, 60), ('dfad', 375, 19), ('one_stage', 375, 19)],
)
def test_cells_make_the_same_share_of_their_published_rounds(name, rounds, every):
    planned = plan(name, fraction=0.015)
    assert (planned.config.num_steps, planned.config.eval_every) == (rounds, every)
    assert plan(name).config.num_steps == planned.published


def test_rounds_are_whole_calls():
    assert [plans.whole(r, 4) for r in (0.1, 5, 6.1, 10, 100)] == [4, 4, 8, 8, 100]
    shared = {'steps_per_call': 4, 'log_every': 4, 'sample_every': 4, 'save_every': 4}
    planned = plan('dfad', shared=shared, student_updates=55, eval_updates=1)
    assert (planned.config.num_steps, planned.config.eval_every) == (12, 4)


def test_the_shared_recipe_and_that_of_a_row():
    study = {
        'shared': {'learning_rate': 0.5, 'crop': 1, 'max_seconds': 9.0},
        'recipes': {'zskt': {'attention': 0.0}, 'supervised': {'crop': 2}},
        'eval_updates': 10,
    }
    zskt, dfad, labels = (plan(name, **study).config for name in ('zskt', 'dfad', 'supervised'))
    assert (zskt.attention, zskt.learning_rate, zskt.crop, zskt.disagreement) == (
        0,
        0.5,
        1,
        'mean_kl',
    )
    assert (dfad.disagreement, dfad.seed, dfad.teacher_digest) == ('l1', 0, 'a digest')
    assert plan('one_stage_kl', 3).config.disagreement == 'kl'
    assert plan('one_stage_kl', 3).config.seed == 3
    assert (labels.network, labels.learning_rate, labels.crop) == ('lenet5_half', 0.5, 2)
    assert (labels.mean, labels.std) == (TEACHER.mean, TEACHER.std)
    assert {config.max_seconds for config in (zskt, dfad, labels)} == {9.0}


def test_students_have_the_teachers_data_unless_others_are_given():
    teacher = dataclasses.replace(
        TEACHER, dataset='npz', data_dir='a', test_data_dir='b', fit='pad'
    )
    found = plans.data_of(make_settings({'data_dir': 'c'}), teacher)
    assert found == {
        'dataset': 'npz', 'data_dir': 'c', 'split': 'train', 'test_split': 'test',
        'test_data_dir': 'b', 'upscale': None, 'labels': None, 'fit': 'pad', 'background': 'white',
        'white_level': 65535, 'frames': 'first', 'layout': None,
    }  # fmt: skip
    # Of the teacher's dataset, all that was asked for, a default too.
    found = plans.data_of(make_settings({'test_split': 'val', 'fit': 'crop'}), teacher)
    assert (found['dataset'], found['test_split'], found['fit']) == ('npz', 'val', 'crop')
    found = plans.data_of(make_settings({'dataset': 'mnist', 'test_split': 'train'}), teacher)
    assert (found['dataset'], found['data_dir'], found['test_split']) == ('mnist', None, 'train')


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'student_updates': 5, 'fraction': 0.5}, '--student_updates and --fraction'),
        ({'shared': {'max_seconds': 5.0}}, '--eval_updates'),
        ({'shared': {'dataset': 'none'}}, 'give --dataset'),
    ],
)
def test_contradictory_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        make_settings(**fields)


def test_recipes_are_parsed():
    texts = ['zskt.attention=0', 'teacher.decay_at=0.5,0.75', 'zskt.latent_dim=7']
    texts += ['supervised.flip=false', 'one_stage_kl.optimizer=adam', 'kd.temperature=2']
    assert plans.parse_recipes(texts) == {
        'zskt': {'attention': 0.0, 'latent_dim': 7},
        'teacher': {'decay_at': (0.5, 0.75)},
        'supervised': {'flip': False},
        'one_stage_kl': {'optimizer': 'adam'},
        'kd': {'temperature': 2.0},
    }
    assert plans.parse_recipes([]) == {}


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('zskt.attention', 'ROW.FIELD=VALUE'),
        ('attention=0', 'ROW.FIELD=VALUE'),
        ('gan.attention=0', 'a row of teacher, kd'),
        ('zskt.seed=1', 'a field of'),
        ('zskt.teacher_digest=x', 'a field of'),
        ('one_stage_kl.disagreement=l1', 'a field of'),
        ('supervised.attention=1', 'a field of'),
        ('zskt.attention=x', 'could not convert'),
        ('kd.flip=1', 'true or false'),
    ],
)
def test_bad_recipes_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        plans.parse_recipes([text])
