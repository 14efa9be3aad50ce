"""What Table 2 compares, and its text and figures from hand-made results."""

import csv
import dataclasses
import io
import math

import numpy as np
import pytest
from PIL import Image

from experiments.studies.records import Cell
from experiments.table2 import figures, plans, report
from experiments.table2.report import PAPER_TABLE2, Result, cost_to_reach
from osgan_jax import reporting
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
def test_or_make_the_same_share_of_their_published_rounds(name, rounds, every):
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
    assert (zskt.attention, zskt.learning_rate, zskt.crop, zskt.disagreement) == (0, 0.5, 1, 'kl')
    assert (dfad.disagreement, dfad.seed, dfad.teacher_digest) == ('l1', 0, 'a digest')
    assert plan('one_stage_kl', 3).config.disagreement == 'kl'
    assert plan('one_stage_kl', 3).config.seed == 3
    assert (labels.network, labels.learning_rate, labels.crop) == ('lenet5_half', 0.5, 2)
    assert (labels.mean, labels.std) == (TEACHER.mean, TEACHER.std)
    assert {config.max_seconds for config in (zskt, dfad, labels)} == {9.0}


def test_students_have_the_teachers_data_unless_told_otherwise():
    teacher = dataclasses.replace(TEACHER, dataset='npz', data_dir='a', test_data_dir='b')
    found = plans.data_of(make_settings({'data_dir': 'c'}), teacher)
    assert found == {
        'dataset': 'npz', 'data_dir': 'c', 'split': 'train', 'test_split': 'test',
        'test_data_dir': 'b', 'upscale': None,
    }  # fmt: skip
    found = plans.data_of(make_settings({'dataset': 'mnist', 'test_split': 'train'}), teacher)
    assert (found['dataset'], found['data_dir'], found['test_split']) == ('mnist', None, 'train')


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'student_updates': 5, 'fraction': 0.5}, '--student_updates or --fraction'),
        ({'fraction': 0.0}, 'above 0'),
        ({'fraction': math.nan}, 'above 0'),
        ({'student_updates': 0}, 'student_updates=0'),
        ({'eval_updates': 0}, 'eval_updates=0'),
        ({'shared': {'max_seconds': 5.0}}, '--eval_updates'),
        ({'shared': {'dataset': 'none'}}, 'give --dataset'),
    ],
)
def test_what_cannot_be_compared_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        make_settings(**fields)


def test_recipes_are_read_as_a_person_writes_them():
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
        ('supervised.attention=1', 'a field of'),
        ('zskt.attention=x', 'could not convert'),
        ('kd.flip=1', 'true or false'),
    ],
)
def test_recipes_that_are_none_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        plans.parse_recipes([text])


# What is made of results.


def evaluations(accuracies, *, every=10, updates=1, rate=5.0):
    return [
        {
            'step': (i + 1) * every,
            'updates': (i + 1) * every * updates,
            'seconds': (i + 1) * every / rate,
            'flops': (i + 1) * every * 1e9,
            'accuracy': accuracy,
            **ABOUT,
        }
        for i, accuracy in enumerate(accuracies)
    ]


ABOUT = {'dataset': 'digits (test)', 'num_samples': 297, 'fingerprint': '0123'}
THE_TEACHER = Result(
    Cell(('teacher',), 0), 'finished', network='lenet5', parameters=61_706, batch_size=128,
    step=1500, seconds=30.0, metrics={'flops': 4.2e11, 'accuracy': 0.9}, about=ABOUT,
)  # fmt: skip


def result(algorithm='dfad', seed=0, accuracies=(0.5, 0.8), **fields):
    values = {
        'status': 'finished',
        'network': 'lenet5_half',
        'parameters': 15_738,
        'batch_size': 256,
        'updates_a_round': 5,
        'published': 25_000,
        'step': 10 * len(accuracies),
        'seconds': 2.0 * len(accuracies),
        'metrics': {'flops': 1e10 * len(accuracies), 'accuracy': accuracies[-1]},
        'about': ABOUT,
        'evaluations': evaluations(accuracies, updates=5),
        **fields,
    }
    return Result(Cell((algorithm,), seed), **values)


FAILED = Result(
    Cell(('kd',), 0), 'failed', 'loss_student became nan at step 3', network='lenet5_half',
    parameters=15_738, batch_size=256,
)  # fmt: skip
FOUR = [THE_TEACHER, result(), result(seed=1, accuracies=(0.4, 0.46, 0.89)), FAILED]


def test_the_cost_of_an_accuracy_is_that_of_the_first_evaluation_to_reach_it():
    lines = evaluations([0.2, 0.5, 0.4, 0.7])
    assert cost_to_reach(lines, 0.1)['step'] == 10
    assert cost_to_reach(lines, 0.5)['seconds'] == 4.0
    assert cost_to_reach(lines[::-1], 0.45)['updates'] == 20
    assert cost_to_reach(lines, 0.51)['flops'] == 4e10
    assert cost_to_reach(lines, 0.71) is None
    assert cost_to_reach([], 0.0) is None


def test_published_numbers_are_those_of_the_papers_table_2():
    assert {name: tuple(row) for name, row in PAPER_TABLE2.items()} == {
        'teacher': ('21.3M', 0.955, 0.775),
        'kd': ('11.2M', 0.939, 0.733),
        'zskt': ('11.2M', 0.921, 0.662),
        'dfad': ('11.2M', 0.933, 0.677),
        'one_stage': ('11.2M', 0.934, 0.700),
    }


def test_markdown_of_two_seeds_and_a_failure():
    lines = report.markdown(FOUR, 'digits', 'Each: 100 updates.').splitlines()
    assert lines[:3] == [
        '# Table 2 on digits',
        '',
        '2 of 3 cells finished, 1 failed. Each: 100 updates.',
    ]
    start = next(i for i, line in enumerate(lines) if line.startswith('| method'))
    assert lines[start + 2 : start + 6] == [
        '| Teacher | lenet5 | 61.7 k | 0.9000 | 0.955 | 0.775 | 1 | 1,500 | - | 1,500 | 128 | '
        '30.0 | 420 GFLOP |',
        # (0.8 + 0.89) / 2, and 0.09 / sqrt(2)
        '| DFAD (two) | lenet5_half | 15.7 k | 0.8450 ± 0.0636 | 0.933 | 0.677 | 2 | 20 to 30 | '
        '0.08% to 0.12% | 100 to 150 | 256 | 4.0 to 6.0 | 20 GFLOP to 30 GFLOP |',
        '| KD | lenet5_half | 15.7 k | - | 0.939 | 0.733 | 0 of 1, 1 failed | - | - | - | 256 | - '
        '| - |',
        '',
    ]
    costs = [line for line in lines if line.startswith('| DFAD')][1:]
    # 0.45 is reached at the first and the second evaluation, 0.72 at the second (0.8) and the third
    # (0.89), and what is above 0.8 by the second seed alone.
    assert costs == [
        '| DFAD (two) | 3.0 | 5.0 | 6.0 (1 of 2) | 6.0 (1 of 2) | 6.0 (1 of 2) |',
        '| DFAD (two) | 75 | 125 | 150 (1 of 2) | 150 (1 of 2) | 150 (1 of 2) |',
        '| DFAD (two) | 15 GFLOP | 25 GFLOP | 30 GFLOP (1 of 2) | 30 GFLOP (1 of 2) | '
        '30 GFLOP (1 of 2) |',
    ]
    assert '| KD | - | - | - | - | - |' in lines
    assert '| method | 50% (0.4500) | 80% (0.7200) | 90% (0.8100) |' in '\n'.join(lines)
    assert lines[-1] == '* kd-0 failed: loss_student became nan at step 3'


def test_markdown_of_nothing_yet():
    text = report.markdown([Result(Cell(('zskt',), 0))], 'digits')
    assert '| ZSKT (two) | - | - | - | 0.921 | 0.662 | 0 of 1 |' in text
    assert 'Cost of' not in text
    uncounted = result(metrics={'accuracy': 0.9}, evaluations=evaluations([0.9], updates=5))
    for line in uncounted.evaluations:
        line['flops'] = None
    assert '| 4.0 | - |\n' in report.markdown([THE_TEACHER, uncounted], 'digits')


def test_csv_has_a_line_a_cell():
    rows = list(csv.DictReader(io.StringIO(report.csv_text(FOUR))))
    assert [(row['algorithm'], row['seed'], row['status']) for row in rows] == [
        ('teacher', '0', 'finished'),
        ('dfad', '0', 'finished'),
        ('dfad', '1', 'finished'),
        ('kd', '0', 'failed'),
    ]
    first = rows[1]
    assert first['accuracy'] == '0.8'
    assert (first['step'], first['updates'], first['published']) == ('20', '100', '25000')
    assert (first['seconds_to_80'], first['updates_to_80']) == ('4.0', '100')
    assert (first['flops_to_50'], first['flops_to_90']) == ('10000000000.0', '')
    assert first['num_samples'] == '297'
    assert rows[3]['reason'] == 'loss_student became nan at step 3'
    assert rows[3]['accuracy'] == rows[3]['seconds_to_50'] == ''


def test_figure_is_written_of_what_there_is(tmp_path):
    path = tmp_path / 'figure.png'
    assert not figures.save_figure([THE_TEACHER, FAILED], path, 'digits')
    assert not path.exists()
    results = [*FOUR, result('one_stage', accuracies=(0.1,)), result('zskt', accuracies=[0.3] * 40)]
    assert figures.save_figure(results, path, 'digits')
    first = path.read_bytes()
    figures.save_figure(results, path, 'digits')
    assert path.read_bytes() == first
    with Image.open(path) as image:
        assert image.width > 2 * image.height > 800


def test_sheet_has_labelled_rows_of_each_generator(tmp_path):
    def sample(value):
        path = tmp_path / f'{value}.png'
        images = np.full((64, 32, 32, 1), value, np.uint8)
        reporting.save_png(path, reporting.grid(images, scale=2))
        return path

    path = tmp_path / 'samples.png'
    assert not figures.save_samples([THE_TEACHER, result()], path)
    results = [
        result('dfad', 0, image_size=32),
        result('dfad', 1, image_size=32, samples=sample(50)),
        result('one_stage', image_size=32, samples=sample(90)),
    ]
    assert figures.save_samples(results, path)
    rows = 2 * 66 + 2
    with Image.open(path) as image:
        assert image.size == (24 + 8 * 66 + 2, 12 + 2 * (24 + rows + 12))
        pixels = np.asarray(image)
    left, top = 12 + 33, 12 + 24 + 33
    assert pixels[top, left].tolist() == [50] * 3
    assert pixels[top + rows + 12 + 24, left].tolist() == [90] * 3
    # The words over a row.
    assert pixels[12:34, 12:100].min() < 100
