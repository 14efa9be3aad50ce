"""Whole runs of students: what is written, resumed, sampled from, and refused."""

import dataclasses
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax import compression, data
from osgan_jax.compression import config as configs
from osgan_jax.compression import students, teachers
from osgan_jax.engine import adoption, checkpoints, runs
from osgan_jax.engine.declarations import declarations
from osgan_jax.gan import reading, sampling, trainer
from osgan_jax.gan.config import TrainConfig
from osgan_jax.runtime import parallel
from tests.support import modules, small

KIMG = 2 * small.BATCH / 1000  # two steps


@pytest.fixture(scope='module')
def taught(tmp_path_factory):
    """The directory of a teacher."""
    workdir = tmp_path_factory.mktemp('teacher')
    config = small.make_config(
        method='dcgan', width=8, conditional=True, num_steps=2, ema_decay=0.9
    )
    trainer.train(config, workdir, dataset=small.dataset())
    return workdir


def student_config(taught, **fields):
    values = {
        'teacher': str(taught),
        'batch_size': small.BATCH,
        'stage_one_kimg': KIMG,
        'stage_two_kimg': KIMG,
        'log_every': 1,
        'sample_every': 2,
        'save_every': 2,
        'num_samples': 4,
        'num_devices': 1,
        **fields,
    }
    return configs.CompressConfig(**values)


def compress(taught, workdir, **fields):
    return compression.compress(student_config(taught, **fields), workdir, dataset=small.dataset())


def metrics(workdir):
    return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


@pytest.fixture(scope='module')
def student(taught, tmp_path_factory):
    """The directory and result of a student."""
    workdir = tmp_path_factory.mktemp('student')
    return workdir, compress(taught, workdir)


def test_a_student_is_half_as_wide_and_trains_in_two_stages(taught, student, capsys):
    workdir, result = student
    assert [line['stage'] for line in metrics(workdir)] == [1, 1, 2, 2]
    assert int(result.state.step) == 4
    run = reading.read(workdir, configs.KINDS)
    assert isinstance(run.config, configs.CompressConfig)
    assert (run.config.method, run.config.width, run.config.num_steps) == ('dcgan', 8, 4)
    assert run.config.conditional
    assert runs.kind_of(workdir) == 'compress'
    # Its images are those of a generator of half the width.
    sampler = sampling.Sampler(workdir, kinds=configs.KINDS)
    assert sampler.gan.generator.width == 4
    z, labels = sampler.latents(3, 0), sampler.labels(3)
    assert run.config.ema_decay == 0.9  # the teacher's
    expected = modules.apply(sampler.gan.generator, result.state.ema_g, z, labels, train=False)
    np.testing.assert_allclose(sampler.images(z, labels), expected, atol=1e-6)
    # The same command has nothing left to do.
    again = compress(taught, workdir)
    chex.assert_trees_all_equal(again.state.params_g, result.state.params_g)
    assert 'Already at step 4' in capsys.readouterr().out


def test_resumed_equals_uninterrupted(taught, student, tmp_path):
    compress(taught, tmp_path, stage_two_kimg=0.0)
    shorter = metrics(tmp_path)
    assert len(shorter) == 2
    # Stage II is longer now: the same run goes on.
    resumed = compress(taught, tmp_path)
    chex.assert_trees_all_equal(resumed.state.params_g, student[1].state.params_g)
    chex.assert_trees_all_equal(resumed.state.scores, student[1].state.scores)
    assert metrics(tmp_path) == metrics(student[0])


@pytest.mark.parametrize('objective', configs.OBJECTIVES)
def test_what_was_decided_at_the_start_is_not_asked_for_on_resuming(taught, objective):
    teacher = teachers.load(taught).run.config
    if objective == 'gradual':
        teacher = configs.resolve(configs.CompressConfig(), teacher, 'first')
    saved = configs.resolve(configs.CompressConfig(objective=objective), teacher, 'digest')
    by_workdir_alone = configs.CompressConfig()
    same_command = configs.CompressConfig(objective=objective)
    for asked in (by_workdir_alone, same_command):
        merged = adoption.adopt(asked, saved)
        assert configs.resolve(merged, teacher, 'digest') == saved
        other = configs.resolve(merged, teacher, 'other')
        assert other.teacher_digest == 'other'  # which is refused, see below


@pytest.mark.parametrize('objective', ['dgl', 'single_updated'])
def test_a_student_begins_with_what_fits_of_another_run(taught, tmp_path, objective):
    asked = student_config(taught, init_from=str(taught), objective=objective)
    job = students.CompressJob(asked, tmp_path, small.dataset())
    job.resume_config()
    job.run = job.open()
    job.devices = parallel.local_devices(1, job.run.config.batch_size)
    job.build()
    begun = job.initialise()
    said = dict(begun.notes)
    # Half as wide: the embedding, and the bias of the last layer.
    assert '2 of 11 tensors of G' in said['begun with']
    _, _, restored = reading.restore(taught)
    np.testing.assert_array_equal(
        begun.state.params_g['Embed_0']['embedding'],
        restored.state.params_g['Embed_0']['embedding'],
    )
    if objective == 'single_updated':
        chex.assert_trees_all_equal(begun.state.guide['params'], restored.state.params_d)


@pytest.mark.slow
def test_a_student_teaches_gradually(student, tmp_path):
    result = compress(student[0], tmp_path, objective='gradual', channel_multiplier='1/4')
    assert int(result.state.step) == 4
    teacher = teachers.load(student[0])
    assert teacher.gan.discriminator.width == 4
    assert sampling.Sampler(tmp_path, kinds=configs.KINDS).gan.generator.width == 2


def test_the_teacher_is_the_averaged_generator_and_the_plain_discriminator(taught):
    teacher = teachers.load(taught)
    _, _, restored = reading.restore(taught, kinds=configs.KINDS)
    chex.assert_trees_all_equal(teacher.variables['generator'], restored.state.ema_g)
    chex.assert_trees_all_equal(
        teacher.variables['discriminator']['params'], restored.state.params_d
    )
    assert restored.state.ema_g is not None
    z, labels = jnp.zeros((2, teacher.gan.latent_dim)), jnp.zeros(2, jnp.int32)
    images = teacher.generate(teacher.variables, z, labels, jax.random.key(0))
    assert images.shape == (2, small.SIZE, small.SIZE, 1)


@pytest.mark.slow
@pytest.mark.parametrize('objective', ['baseline', 'from_scratch', 'uncompressed', 'ggl', 'd_out'])
def test_objectives_from_a_teacher_to_a_checkpoint(taught, tmp_path, objective):
    result = compress(taught, tmp_path, objective=objective)
    stages = {'baseline': [1, 1, 1, 1], 'from_scratch': [2, 2, 2, 2]}
    found = [line['stage'] for line in metrics(tmp_path)]
    assert found == stages.get(objective, [1, 1, 2, 2])
    config = reading.read(tmp_path, configs.KINDS).config
    assert config.channel_multiplier == ('1' if objective == 'uncompressed' else '1/2')
    chex.assert_tree_all_finite(result.state.params_g)


@pytest.mark.slow
def test_another_teacher_is_refused_on_resuming(student, tmp_path):
    workdir = tmp_path / 'teacher'
    config = small.make_config(method='dcgan', width=8, conditional=True, num_steps=2, seed=3)
    trainer.train(config, workdir, dataset=small.dataset())
    with pytest.raises(ValueError, match='teacher_digest is'):
        compress(workdir, student[0])


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'teacher': None}, 'give --teacher'),
        ({'teacher': '/nowhere'}, '/nowhere holds no run'),
        ({'objective': 'gradual'}, 'the teacher must be a student itself'),
        ({'objective': 'g_inter'}, 'dcgan has no blocks to compare'),
        ({'channel_multiplier': '1/3'}, 'would become 2.66667;'),
        ({'stage_one_kimg': 0.0, 'stage_two_kimg': 0.0}, 'nothing to train'),
        ({'batch_size': 64}, 'batch_size=64 is more than the 40 images'),
        ({'minibatch_deviation': 2}, 'dcgan has no minibatch_deviation'),
        (
            {'objective': 'uncompressed', 'channel_multiplier': '1/4'},
            "the student has the teacher's channels",
        ),
        ({'stage_one_kimg': 1e12}, 'expected at most 2147483646'),
        ({'teacher_step': 7}, 'no checkpoint of step 7'),
    ],
)
def test_what_does_not_fit_is_refused(taught, tmp_path, fields, message):
    workdir = tmp_path / 'run'
    errors = (ValueError, FileNotFoundError, checkpoints.CheckpointError)
    with pytest.raises(errors, match=message):
        compress(**{'taught': taught, 'workdir': workdir, **fields})
    assert not (workdir / 'config.json').exists()


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'objective': 'other'}, "objective='other': expected one of dgl, baseline"),
        ({'weight': -1.0}, 'weight=-1.0'),
        ({'stage_one_kimg': float('nan')}, 'stage_one_kimg=nan'),
        ({'imitated': ('8',)}, '--objective=dgl compares no features'),
        ({'imitated': ('x',), 'objective': 'g_inter'}, "imitated='x'"),
        ({'imitated': ('out',), 'objective': 'd_inter'}, 'only g_inter compares images'),
        ({'channel_multiplier': '2'}, 'channel_multiplier=2: expected a number above 0'),
        ({'channel_multiplier': '1/0'}, 'channel_multiplier=1/0'),
        ({'channel_multiplier': 'nan'}, 'channel_multiplier=nan'),
        ({'objective': 'baseline', 'weight': 0.2}, 'has no term'),
        ({'imitated': ('²',), 'objective': 'd_inter'}, 'imitated='),
    ],
)
def test_flags_that_contradict_each_other(fields, message):
    with pytest.raises(ValueError, match=message):
        configs.CompressConfig(**fields)


def test_a_dataset_of_other_classes_is_refused(taught, tmp_path):
    images = np.zeros((40, small.SIZE, small.SIZE, 1), np.uint8)
    other = data.from_arrays(images, np.arange(40) % 2, name='other')
    with pytest.raises(ValueError, match='the teacher was trained with 4 classes, but other has 2'):
        compression.compress(student_config(taught), tmp_path, dataset=other)


def test_a_teachers_images_that_a_program_gave_are_not_opened_by_name(taught, tmp_path):
    """Its config.json says digits, the default; it was trained on others."""
    with pytest.raises(
        ValueError, match="40 images called 'small' that a program passed as arrays, not on "
    ):
        compression.compress(student_config(taught), tmp_path)
    assert not (tmp_path / 'config.json').exists()


def test_lengths_of_the_stages(taught):
    teacher = teachers.load(taught).run.config
    lengths = {}
    for objective in ('dgl', 'uncompressed', 'from_scratch'):
        config = configs.CompressConfig(objective=objective)
        config = configs.resolve(config, teacher, 'none')
        lengths[objective] = (config.stage_one_kimg, config.stage_two_kimg)
    assert lengths == {
        'dgl': (15_000, 15_000),
        'uncompressed': (20_000, 10_000),
        'from_scratch': (15_000, 15_000),
    }
    # Stage II alone, as long as both; the flags stay, and so the same command resumes. Older runs
    # kept the sum.
    for kimg in [(0.1, 0.1), (0.0, 0.2)]:
        config = dataclasses.replace(
            config, stage_one_kimg=kimg[0], stage_two_kimg=kimg[1], batch_size=25
        )
        counted = configs.count_steps(config)
        assert (counted.stage_one_steps, counted.num_steps) == (0, 8)
    biggan = dataclasses.replace(teacher, method='biggan')
    config = configs.resolve(configs.CompressConfig(), biggan, 'none')
    assert config.stage_one_kimg == 100_000
    # Stages are whole steps: more images than asked for, never fewer.
    config = dataclasses.replace(
        config,
        stage_one_kimg=0.1,
        stage_two_kimg=0.1,
        batch_size=32,
        steps_per_call=4,
        log_every=8,
        sample_every=8,
        save_every=8,
    )
    config = configs.count_steps(config)
    assert (config.stage_one_steps, config.num_steps) == (4, 8)
    # A step of two D steps takes twice as many images.
    config = configs.count_steps(dataclasses.replace(config, d_steps=2))
    assert (config.stage_one_steps, config.num_steps) == (2, 4)


def test_d_steps_are_the_teachers_and_the_average_is_of_images(taught):
    teacher = dataclasses.replace(teachers.load(taught).run.config, d_steps=3)
    resolve = lambda **given: configs.resolve(configs.CompressConfig(**given), teacher, 'none')  # noqa: E731
    found = resolve()
    assert (found.d_steps, found.ema_decay) == (3, teacher.ema_decay)
    found = resolve(d_steps=1)
    assert found.d_steps == 1
    assert found.ema_decay == pytest.approx(teacher.ema_decay ** (1 / 3))


def test_help_says_what_the_teacher_decides():
    declared = declarations(configs.CompressConfig)
    for name in ('batch_size', 'd_steps', 'beta1', 'r1', 'ema_decay', 'weight_clip'):
        assert (declared[name].decided_by, declared[name].otherwise) == (('teacher',), None)
    assert declared['learning_rate_d'].decided_by == ('teacher', 'scheme')
    assert declarations(TrainConfig)['batch_size'].decided_by == ('method',)
