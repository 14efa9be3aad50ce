"""experiments.edit on a run made here."""

import pytest
from PIL import Image

from osgan_jax.compression import config as compression_config
from osgan_jax.compression import students
from osgan_jax.gan import trainer
from tests.support import launching, small


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp('edit') / 'run'
    # Steps so large that samples differ.
    config = small.make_config(method='dcgan', num_steps=2, learning_rate_g=0.5)
    trainer.train(config, folder, dataset=small.dataset())
    return folder


@pytest.mark.slow
def test_from_a_run_to_a_direction_by_hand(workdir):
    shape = ('--rows=2', '--columns=3', '--frames=4', '--fps=8')
    done = launching.call(
        'edit',
        f'--workdir={workdir}',
        '--sheet=interpolate_z,truncation',
        '--label_samples=40',
        '--truncations=0.5,inf',
        *shape,
    )
    assert done.code == 0, done.err
    assert done.err == ''
    out = workdir / 'edits'
    names = {'interpolate_z.png', 'interpolate_z.webp', 'truncation.png', 'label_samples'}
    assert {path.name for path in out.iterdir()} == names
    with Image.open(out / 'interpolate_z.png') as image:
        assert image.size == (3 * 66 + 2, 2 * 66 + 2)
    with Image.open(out / 'interpolate_z.webp') as image:
        assert image.n_frames == 6
    # A program that labels by the image's mean.
    lines, means = ['index,label'], []
    for index in range(40):
        with Image.open(out / 'label_samples' / f'{index:05d}.png') as image:
            means.append(sum(image.tobytes()))
    lines += [f'{i},{int(mean > sorted(means)[20])}' for i, mean in enumerate(means)]
    labels = out / 'label_samples' / 'labels.csv'
    assert labels.read_text().startswith('index,label\n0,\n')
    labels.write_text('\n'.join(lines))
    done = launching.call(
        'edit',
        f'--workdir={workdir}',
        '--sheet=direction',
        f'--sample_labels={labels}',
        '--strengths=-2,2',
        *shape,
    )
    assert done.code == 0, done.err
    assert 'direction_1 tells' in done.out
    names |= {'direction_1.npz', 'direction_1.png', 'direction_1.webp'}
    assert {path.name for path in out.iterdir()} == names


@pytest.mark.slow
def test_images_are_projected_and_shown(workdir, tmp_path):
    image = small.dataset()[5]['image']
    Image.fromarray(image[..., 0]).save(tmp_path / 'mine.png')
    out = tmp_path / 'out'
    flags = (f'--workdir={workdir}', f'--out={out}', '--project_steps=40', '--project_samples=20')
    sheets = '--sheet=truncation,masked,gradients'
    done = launching.call('edit', *flags, f'--project={tmp_path}/mine.png', sheets)
    assert done.code == 0, done.err
    assert 'compared by pixels and features of D' in done.out
    assert 'mine: distance ' in done.out
    assert {path.name for path in (out / 'projected').iterdir()} == {'mine.png', 'mine.npz'}
    with Image.open(out / 'gradients.png') as sheet:
        assert sheet.size == (2 * 66 + 2, 66 + 2)
    with Image.open(out / 'masked.png') as sheet:
        assert sheet.size == (66 + 2, 2 * 66 + 2)
    (tmp_path / 'bad.png').write_bytes(b'no picture')
    done = launching.call('edit', *flags, f'--project={tmp_path}/bad.png')
    assert done.code == 1
    assert 'bad.png: not an image' in done.err


@pytest.mark.slow
def test_a_student_and_its_teacher_look_at_the_same_images(workdir, tmp_path):
    students.compress(
        compression_config.CompressConfig(
            teacher=str(workdir),
            num_steps=2,
            stage_one_kimg=0.008,
            stage_two_kimg=0.008,
            num_samples=4,
            num_devices=1,
        ),
        tmp_path / 'student',
        dataset=small.dataset(),
    )
    done = launching.call(
        'edit',
        f'--workdir={tmp_path}/student',
        '--sheet=gradients',
        '--rows=2',
        '--gradient_samples=2',
    )
    assert done.code == 0, done.err
    assert "gradients of the logit of the student's D and the teacher's D" in done.out
    with Image.open(tmp_path / 'student' / 'edits' / 'gradients.png') as sheet:
        assert sheet.size == (3 * 66 + 2, 2 * 66 + 2)


def test_without_a_run_it_ends_in_one_sentence():
    done = launching.call('edit', '--workdir=/nowhere', '--sheet=truncation')
    assert done.code == 1
    assert done.err == (
        'error: /nowhere holds no run (no config.json): give the --workdir of a training run\n'
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ('flags', 'sentence'),
    [
        (
            ['--sheet=mixing'],
            'mixing cannot be drawn of this dcgan, it has no w: choose among inte',
        ),
        ([], 'nothing to draw: give --project or --label_samples, or --sheet'),
        (['--sheet=collage'], "sheet='collage': expected some of mixing"),
        (['--sheet=truncation', '--rows=0'], 'rows=0: expected a number of at least 1'),
        (['--sheet=truncation', '--truncations=a'], 'truncations: could not convert'),
        (['--sheet=direction'], 'its latents, it was trained without any: give --sample_labels'),
        (['--sheet=direction', '--sample_labels=/nowhere.csv'], '/nowhere.csv'),
        # The earlier name.
        (['--sheet=direction', '--labels=/nowhere.csv'], '/nowhere.csv'),
        (['--project=/nowhere.png'], 'no image /nowhere.png, and no folder of images'),
        (['--sheet=truncation', '--latents=/nowhere.npz'], '/nowhere.npz'),
        (['--sheet=direction', '--classifier=/nowhere'], '/nowhere holds no run'),
        (['--sheet=direction', '--direction=/nowhere.npz'], '/nowhere.npz'),
        (['--sheet=truncation', '--step=9'], 'step 9'),
        (['--sheet=truncation', '--label=1'], 'not trained with labels'),
    ],
)
def test_wrong_flags_are_one_sentence(workdir, flags, sentence):
    done = launching.call('edit', f'--workdir={workdir}', *flags)
    assert done.code == 1
    assert done.err.startswith('error: ')
    assert len(done.err.splitlines()) == 1
    assert sentence in done.err
