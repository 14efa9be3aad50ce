"""Whole runs of teachers and students: what is written, resumed, and refused."""

import dataclasses
import json
import shutil
import tracemalloc
import types
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax import data, distillation, reporting
from osgan_jax.distillation import classifiers, learners, students, teachers
from osgan_jax.distillation.config import check_effects, resolve_student, resolve_teacher
from osgan_jax.engine import runs
from osgan_jax.evaluation import score_log
from osgan_jax.gan import model
from osgan_jax.io import checked_npz
from tests.support import tiny
from tests.support.marks import slow_but


def teacher_config(**fields):
    values = {'batch_size': 8, 'num_steps': 4, 'log_every': 1, 'num_devices': 1, **fields}
    return distillation.TeacherConfig(**values)


def student_config(algorithm='one_stage', **fields):
    generator = {} if algorithm == 'kd' else {'generator_width': 4, 'latent_dim': 6}
    values = {
        'algorithm': algorithm,
        'batch_size': 8,
        'num_steps': 4,
        **generator,
        'log_every': 1,
        'sample_every': 2,
        'save_every': 2,
        'eval_every': 2,
        'num_samples': 4,
        'num_devices': 1,
        **fields,
    }
    return distillation.DistillConfig(**values)


@pytest.fixture(scope='module')
def taught(tmp_path_factory):
    """A teacher's directory."""
    workdir = tmp_path_factory.mktemp('teacher')
    config = teacher_config(num_steps=12, learning_rate=0.05, eval_every=12)
    distillation.train_teacher(
        config, workdir, dataset=tiny.dataset(), test=tiny.dataset(30, seed=1)
    )
    return workdir


def distil(taught, workdir, algorithm='one_stage', **fields):
    teacher = distillation.load(taught)
    dataset = tiny.dataset() if algorithm == 'kd' else None
    return distillation.distill(
        student_config(algorithm, **fields),
        workdir,
        teacher=teacher,
        dataset=dataset,
        test=tiny.dataset(30, seed=1),
    )


def contents(workdir):
    return {path: path.read_bytes() for path in workdir.rglob('*') if path.is_file()}


@pytest.fixture(scope='module')
def student(taught, tmp_path_factory):
    """Directory and result of a student in one stage, which leaves its teacher as it was."""
    before, workdir = contents(taught), tmp_path_factory.mktemp('student')
    result = distil(taught, workdir)
    assert before == contents(taught)
    return workdir, result


def test_a_teacher_is_trained_measured_and_read_back(taught):
    run = runs.read(taught, distillation.TeacherConfig)
    assert run.config.network == 'lenet5'
    assert run.config.eval_every == 12
    lines = score_log.read(taught)
    assert [line['step'] for line in lines] == [12]
    assert lines[0]['flops'] > 0
    teacher = distillation.load(taught)
    test = tiny.dataset(30, seed=1)
    images = np.stack([test[i]['image'] for i in range(30)])
    labels = np.array([test[i]['label'] for i in range(30)])
    right = np.mean(np.argmax(teacher(images / np.float32(127.5) - 1), -1) == labels)
    assert lines[0]['accuracy'] == pytest.approx(right)
    # Images that are told apart by their brightness, in twelve steps: better than chance.
    assert right > 0.4


@pytest.mark.parametrize(
    'algorithm',
    slow_but(['one_stage', 'kd', 'dfad', 'zskt'], 'one_stage'),
)
def test_students_are_distilled(taught, tmp_path, algorithm, request):
    before = contents(taught)
    if algorithm == 'one_stage':
        tmp_path, result = request.getfixturevalue('student')
    else:
        result = distil(taught, tmp_path, algorithm)
    assert int(result.state.step) == 4
    assert all(np.isfinite(value) for value in result.metrics.values())
    # The teacher's files, and so its parameters, are what they were.
    assert before == contents(taught)
    run = runs.read(tmp_path, distillation.DistillConfig)
    assert run.config.teacher_digest == distillation.load(taught).digest()
    assert run.config.student_steps == {'dfad': 5, 'zskt': 10}.get(algorithm, 1)
    lines = score_log.read(tmp_path)
    assert [line['step'] for line in lines] == [2, 4]
    assert lines[1]['flops'] == pytest.approx(2 * lines[0]['flops'])
    assert (tmp_path / 'evaluations.png').stat().st_size > 0
    grids = sorted(path.name for path in (tmp_path / 'samples').glob('*.png'))
    shown = ['step_0000000.png', 'step_0000002.png', 'step_0000004.png']
    assert grids == ([] if algorithm == 'kd' else shown)
    columns = reporting.metrics_log.read(tmp_path / 'metrics.jsonl')
    assert {'loss_student', 'agreement'} <= set(columns)
    # A student can teach.
    student = distillation.load(tmp_path)
    assert student.architecture == 'lenet5_half'
    chex.assert_trees_all_equal(student.variables, jax.device_get(result.state.student.variables))


def test_an_interrupted_student_goes_on_as_if_it_had_not_been(taught, student, tmp_path):
    (whole, finished), cut = student, tmp_path / 'cut'
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / 'checkpoints' / '4')
    resumed = distil(taught, cut)
    without_key = lambda state: dataclasses.replace(state, key=None)  # noqa: E731
    chex.assert_trees_all_equal(without_key(finished.state), without_key(resumed.state))
    for name in ('metrics.jsonl', 'samples/step_0000004.png'):
        assert (whole / name).read_bytes() == (cut / name).read_bytes()
    accuracies = [
        [(line['step'], line['accuracy']) for line in score_log.read(workdir)]
        for workdir in (whole, cut)
    ]
    assert accuracies[0] == accuracies[1]


@pytest.mark.slow
def test_another_teacher_is_noticed_on_resuming(taught, tmp_path):
    distil(taught, tmp_path, num_steps=2)
    teacher = distillation.load(taught)
    variables = jax.tree.map(np.array, teacher.variables)
    variables['params']['Dense_0']['bias'][0] += 1e-6
    with pytest.raises(ValueError, match='teacher_digest is'):
        distillation.distill(
            student_config(num_steps=2),
            tmp_path,
            teacher=dataclasses.replace(teacher, variables=variables),
            test=tiny.dataset(30, seed=1),
        )


def test_no_data_at_all(taught, tmp_path, capsys):
    config = student_config(teacher=str(taught), dataset='none', num_steps=2)
    distillation.distill(config, tmp_path)
    assert score_log.read(tmp_path) == []
    assert 'none' in capsys.readouterr().out
    with pytest.raises(ValueError, match='algorithm=kd needs data'):
        distillation.distill(dataclasses.replace(config, algorithm='kd'), tmp_path / 'kd')


@pytest.mark.parametrize('algorithm', ['kd', 'one_stage'])
def test_a_teachers_images_that_a_program_gave_are_not_opened_by_name(taught, tmp_path, algorithm):
    config = student_config(algorithm, teacher=str(taught))
    with pytest.raises(ValueError, match=r'the teacher was trained on 40 images called .* not on'):
        distillation.distill(config, tmp_path)


def test_what_a_student_cannot_learn_from(taught, tmp_path):
    with pytest.raises(ValueError, match='give --teacher'):
        distillation.distill(student_config(), tmp_path)
    with pytest.raises(FileNotFoundError, match='holds no run'):
        distillation.distill(student_config(teacher=str(tmp_path / 'none')), tmp_path)
    other = tiny.dataset(30, size=16)
    with pytest.raises(ValueError, match='4 classes of 32x32x1 images, which does not fit bright'):
        distillation.distill(student_config(teacher=str(taught)), tmp_path, test=other)
    assert not (tmp_path / 'config.json').exists()
    (tmp_path / 'gan').mkdir()
    (tmp_path / 'gan' / 'config.json').write_text(json.dumps({'kind': 'train', 'dataset': {}}))
    with pytest.raises(ValueError, match=r'holds a run of experiments\.train'):
        distillation.load(tmp_path / 'gan')


def test_a_teacher_that_goes_on_may_be_measured_on_another_part(taught, tmp_path):
    workdir = tmp_path / 'copy'
    shutil.copytree(taught, workdir)
    config = distillation.TeacherConfig(split='all', test_split='train')
    distillation.train_teacher(config, workdir, dataset=tiny.dataset(), test=tiny.dataset(30))
    resumed = runs.read(workdir, distillation.TeacherConfig).config
    assert (resumed.split, resumed.test_split) == ('all', 'train')


def test_flops_count_every_student_step(taught):
    teacher = distillation.load(taught)

    def flops(algorithm, **fields):
        config = resolve_student(
            student_config(algorithm, **fields),
            network='lenet5',
            teacher=teacher.run.config,
            num_examples=40,
            digest='',
        )
        return students.count_flops(config, teacher)

    one, two, three = (flops('dfad', student_steps=count) for count in (1, 2, 3))
    assert two - one == pytest.approx(three - two, rel=1e-3)
    # The generator's own step costs more than a student's: it passes through both networks.
    assert 0 < two - one < one
    # One shared pass: less than a student's and a generator's step.
    assert flops('one_stage') < one


def test_published_recipes():
    teacher = resolve_teacher(
        distillation.TeacherConfig(dataset='cifar10'),
        image_size=32,
        channels=3,
        num_examples=50_000,
        statistics=lambda: pytest.fail('CIFAR has published ones'),
    )
    assert (teacher.network, teacher.batch_size, teacher.num_steps) == ('resnet34', 128, 78_000)
    assert (teacher.learning_rate, teacher.momentum, teacher.weight_decay) == (0.1, 0.9, 5e-4)
    assert (teacher.decay_at, teacher.decay_factor, teacher.crop) == ((0.4, 0.8), 0.1, 4)
    assert teacher.mean == (0.4914, 0.4822, 0.4465)
    assert teacher.flip

    def student(algorithm, **fields):
        return resolve_student(
            distillation.DistillConfig(algorithm=algorithm, **fields),
            network='resnet34',
            teacher=teacher,
            num_examples=50_000,
            digest='',
        )

    dfad = student('dfad')
    assert (dfad.student, dfad.batch_size, dfad.latent_dim) == ('resnet18', 256, 256)
    assert (dfad.num_steps, dfad.student_steps, dfad.disagreement) == (25_000, 5, 'l1')
    assert (dfad.optimizer, dfad.learning_rate, dfad.learning_rate_g) == ('sgd', 0.1, 1e-3)
    assert (dfad.weight_decay, dfad.decay_at, dfad.clip_norm) == (5e-4, (0.2, 0.4), 0.0)
    zskt = student('zskt')
    assert (zskt.batch_size, zskt.latent_dim, zskt.num_steps) == (128, 100, 80_000)
    assert (zskt.student_steps, zskt.disagreement, zskt.attention) == (10, 'mean_kl', 250.0)
    assert (zskt.optimizer, zskt.learning_rate, zskt.learning_rate_g) == ('adam', 2e-3, 1e-3)
    assert (zskt.schedule, zskt.clip_norm, zskt.generator) == ('cosine', 5.0, 'zskt')
    one = student('one_stage', disagreement='kl')
    assert (one.student_steps, one.disagreement, one.attention) == (1, 'kl', 0.0)
    assert student('kd').num_steps == 200 * (50_000 // 128)


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'algorithm': 'one_stage', 'student_steps': 5}, 'updates the student once a round'),
        ({'algorithm': 'one_stage', 'attention': 1.0}, 'share one gradient'),
        ({'temperature': 0.0}, r'temperature=0\.0'),
        ({'hard_weight': 1.5}, r'hard_weight=1\.5'),
        ({'decay_at': (0.5, 0.2)}, r'decay_at=\[0\.5, 0\.2\]'),
        ({'decay_factor': 0.0}, r'decay_factor=0\.0'),
        ({'momentum': 1.0}, r'momentum=1\.0'),
        ({'disagreement': 'l2'}, "disagreement='l2': expected one of l1, kl"),
    ],
)
def test_options_that_do_not_fit(fields, message):
    with pytest.raises(ValueError, match=message):
        distillation.DistillConfig(**fields)


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'network': 'resnet50'}, "unknown classifier 'resnet50'"),
        ({'network': 'lenet5', 'image_size': 28}, 'made for 32 pixels'),
        ({'batch_size': 2000}, 'the dataset has 1500 images'),
        ({'test_split': 'exam'}, "unknown split 'exam'"),
        ({'mean': (0.5, 0.5)}, 'a number for each of 1 channels'),
        ({'num_steps': 5, 'steps_per_call': 2, 'log_every': 2}, 'expected a multiple of'),
        ({'dataset': 'cifar9'}, "unknown dataset 'cifar9'"),
    ],
)
def test_teachers_that_cannot_be_trained_leave_nothing(tmp_path, fields, message):
    workdir = tmp_path / 'run'
    with pytest.raises(ValueError, match=message):
        distillation.train_teacher(teacher_config(**fields), workdir)
    assert not (workdir / 'config.json').exists()


def of_lenet5(**fields):
    """A teacher's configuration, resolved, of 32-pixel grey images."""
    return resolve_teacher(
        distillation.TeacherConfig(**fields),
        image_size=32,
        channels=1,
        num_examples=40,
        statistics=lambda: ((0.5,), (0.25,)),
    )


def of_student(teacher, **fields):
    """What was asked for, and the same resolved."""
    asked = distillation.DistillConfig(batch_size=8, **fields)
    resolved = resolve_student(
        asked, network='lenet5', teacher=teacher, num_examples=40, digest='none'
    )
    return asked, resolved


def test_grey_images_are_not_standardised_as_cifars():
    assert of_lenet5(dataset='cifar10', batch_size=8).mean == (0.5,)


@pytest.mark.parametrize(
    ('algorithm', 'fields', 'message'),
    [
        ('kd', {'attention': 250.0}, 'attention=250.0: --algorithm=kd .*=zskt or dfad'),
        ('kd', {'generator': 'zskt'}, 'generator=zskt: --algorithm=kd'),
        ('kd', {'generator_width': 64}, 'generator_width=64: --algorithm=kd'),
        ('one_stage', {'temperature': 9.0}, 'choose --algorithm=kd'),
        ('dfad', {'flip': True}, 'flip=True: --algorithm=dfad'),
        ('zskt', {'decay_at': (0.1, 0.2)}, 'decay_at=0.1,0.2: --schedule=cosine .*=steps'),
        ('zskt', {'momentum': 0.9}, 'momentum=0.9: --optimizer=adam'),
        ('kd', {'attention': 0.0, 'crop': 1, 'decay_factor': 0.5, 'momentum': 0.5}, None),
    ],
)
def test_flags_without_effect_are_refused(algorithm, fields, message):
    asked, resolved = of_student(of_lenet5(batch_size=8), algorithm=algorithm, **fields)
    if message is None:
        check_effects(asked, resolved)
        return
    with pytest.raises(ValueError, match=message):
        check_effects(asked, resolved)
    check_effects(resolved, resolved)  # the students of a table share flags


@pytest.mark.parametrize('algorithm', ['kd', 'one_stage'])
def test_a_student_has_the_teachers_data_but_for_what_was_asked(tmp_path, monkeypatch, algorithm):
    theirs = {'dataset': 'folder', 'data_dir': '/old', 'fit': 'pad', 'upscale': True}
    run = runs.Run(of_lenet5(batch_size=8, **theirs), 4, (), 40)
    teacher = types.SimpleNamespace(run=run, variables={})
    asked = {'data_dir': '/new', 'test_split': 'val', 'fit': 'crop'}
    opened = []

    def open_part(config, *, test=False):
        opened.append(config)
        raise FileNotFoundError

    monkeypatch.setattr(teachers, 'open_part', open_part)
    config = student_config(algorithm, **asked)
    with pytest.raises(FileNotFoundError):
        students.DistillJob(config, tmp_path, teacher=teacher).open()
    expected = {**theirs, **asked, 'split': 'train'}
    assert {name: getattr(opened[0], name) for name in expected} == expected


def test_a_fork_goes_on_at_its_step_of_another_schedule(tmp_path):
    one = {'w': jnp.ones(3)}

    def state_of(config):
        made = (learners.student(config, 4, None), learners.generator(config, None))
        parts = [learners.LearnerState(one, {}, each.optimizer.init(one)) for each in made]
        return learners.State(jnp.asarray(50), *parts, jax.random.key(0))

    asked, config = of_student(
        of_lenet5(batch_size=8), algorithm='dfad', schedule='cosine', optimizer='adam'
    )
    job = students.DistillJob(asked, tmp_path)
    job.run = types.SimpleNamespace(config=config)
    state = job.renew(state_of(config), frozenset())
    counts = lambda learner: [int(x) for x in jax.tree.leaves(learner.opt) if not x.ndim]  # noqa: E731
    # Adam's own count, of its moments, and the schedule's; dfad's student has five updates a step.
    assert (counts(state.student), counts(state.generator)) == ([0, 250], [0, 50])


class Drawn:
    """A source whose images are made when they are read."""

    def __len__(self):
        return 200

    def __getitem__(self, index):
        return np.random.default_rng(index).integers(0, 255, (64, 64, 1), np.uint8), index % 4


def drawn(source=None):
    return data.Dataset('drawn', 'train', 64, 1, 4, tuple('abcd'), source or Drawn())


def test_images_are_not_all_in_memory():
    dataset, size = drawn(), 200 * 64 * 64
    images = np.stack([row['image'] for row in dataset])
    config = types.SimpleNamespace(mean=(0.5,), std=(0.25,))
    tracemalloc.start()
    mean, std = teachers._statistics(dataset)
    with mock.patch.object(classifiers, '_ROWS', 8):
        about = classifiers.Accuracy(tiny.Tiny(), dataset, config).about
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < size * 0.8
    assert (mean, std) == (
        (pytest.approx(images.mean() / 255, abs=1e-6),),
        (pytest.approx(images.std() / 255, abs=1e-6),),
    )
    # As it was when it was of the whole array: evaluations of older runs still count.
    labels = np.arange(200, dtype=np.int32) % 4
    assert about['fingerprint'] == checked_npz.digest(images, labels)


def test_a_channel_without_contrast_is_refused():
    grey = [(np.full((64, 64, 1), 77, np.uint8), 0)] * 7
    with pytest.raises(ValueError, match='the same in all images'):
        teachers._statistics(drawn(grey))


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'student': 'vgg'}, "unknown classifier 'vgg'"),
        ({'generator': 'gan'}, "unknown generator 'gan'"),
        ({'algorithm': 'zskt', 'student': 'wrn16_1'}, 'whose stages have equal grids'),
    ],
)
def test_students_that_cannot_be_trained_leave_nothing(taught, tmp_path, fields, message):
    workdir = tmp_path / 'run'
    with pytest.raises(ValueError, match=message):
        distil(taught, workdir, **{'algorithm': 'one_stage', **fields})
    assert not (workdir / 'config.json').exists()


def test_schedules_count_rounds_not_updates(taught):
    teacher = distillation.load(taught)
    from osgan_jax.distillation import learners

    for algorithm in ('dfad', 'one_stage'):
        config = resolve_student(
            student_config(algorithm, num_steps=10, momentum=0.0, weight_decay=0.0),
            network='lenet5',
            teacher=teacher.run.config,
            num_examples=0,
            digest='',
        )
        optimizer = learners.student(config, 4, None).optimizer
        one = np.ones((), np.float32)
        state, moved = optimizer.init(one), []
        for _ in range(10 * config.student_steps):
            update, state = optimizer.update(one, state, one)
            moved.append(-float(update))
        each = np.array(moved).reshape(10, config.student_steps)
        expected = 0.01 * np.array([1.0] * 2 + [0.1] * 2 + [0.01] * 6)
        np.testing.assert_allclose(
            each, np.tile(expected[:, None], config.student_steps), rtol=1e-5
        )


def test_a_digest_tells_variables_apart():
    variables = {'a': np.zeros(3, np.float32), 'b': np.ones(2, np.float32)}
    assert model.digest(variables) == model.digest(dict(variables))
    assert model.digest(variables) != model.digest({**variables, 'c': np.ones(2)})
    changed = {**variables, 'a': np.array([0, 0, 1e-30], np.float32)}
    assert model.digest(variables) != model.digest(changed)
