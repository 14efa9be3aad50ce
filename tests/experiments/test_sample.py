"""experiments.sample: sets that go on, sheets that do not mix, videos, and flat memory."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from osgan_jax import data
from osgan_jax.editing import video
from osgan_jax.gan import sampling, trainer
from osgan_jax.reporting.image_sets import ImageSet
from tests.support import ROOT, launching, small


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp('cgan')
    rates = {'learning_rate_g': 0.1, 'learning_rate_d': 0.1}  # weights large enough to see
    config = small.make_config(method='cgan', num_steps=2, save_every=1, **rates)
    trainer.train(config, path, dataset=small.dataset())
    return path


def call(workdir, out, *flags, code=0):
    done = launching.call('sample', f'--workdir={workdir}', f'--out={out}', *flags)
    assert done.code == code, done.err
    return done


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_sheets_of_other_images_do_not_stay(workdir, tmp_path):
    call(workdir, tmp_path, '--grid=4', '--interpolate=1', '--steps=2')
    assert names(tmp_path) == ['grid.png', 'interpolations.png', 'sheets.json']
    # The same images: they belong together.
    call(workdir, tmp_path, '--grid=8')
    assert names(tmp_path) == ['grid.png', 'interpolations.png', 'sheets.json']
    (tmp_path / 'mine.png').write_bytes(b'')
    done = call(workdir, tmp_path, '--grid=4', '--step=1')
    assert 'Removed interpolations.png, of an earlier call for others.' in done.out
    assert names(tmp_path) == ['grid.png', 'mine.png', 'sheets.json']
    assert json.loads((tmp_path / 'sheets.json').read_text())['step'] == 1


def test_each_set_has_a_place_of_its_own(workdir, tmp_path):
    few, many = ('--grid=0', '--count=2'), ('--grid=0', '--count=3', '--seed=1')
    for flags in (few, many, (*few, '--step=1'), (*few, '--truncation=0.5', '--label=3,1')):
        call(workdir, tmp_path, *flags)
    folders = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert sorted(path.name for path in folders) == [
        'step_1-seed_0-2_images',
        'step_2-seed_0-2_images',
        'step_2-seed_0-label_3,1-truncation_0.5-2_images',
        'step_2-seed_1-3_images',
    ]
    for folder in folders:
        images = [f'image_{i:05d}.png' for i in range(int(folder.name.split('-')[-1][0]))]
        assert names(folder) == ['dataset.json', *images]
    assert (
        'already holds these 2 images in step_2-seed_0-2_images.'
        in call(workdir, tmp_path, *few).out
    )


def test_a_stopped_set_goes_on_and_is_that_of_one_call(workdir, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, '_ROWS', 2)
    flags = ('--grid=0', '--seeds=0-3,8,100000', '--format=npz')
    call(workdir, tmp_path / 'whole', *flags)
    put = ImageSet.put

    def stopped_put(self, start, images):
        put(self, start, images)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(ImageSet, 'put', stopped_put)
        done = call(workdir, tmp_path / 'parts', *flags, code=130)
    assert 'Stopped after 2 of 6 images. Run the same command again to go on.' in done.out
    assert 'Continuing after 2 images.' in call(workdir, tmp_path / 'parts', *flags).out
    (path,) = (tmp_path / 'parts').glob('*.npz')
    assert path.name == 'step_2-seeds_0-3,8,100000-6_images.npz'
    assert path.read_bytes() == (tmp_path / 'whole' / path.name).read_bytes()
    with np.load(path) as found:
        assert found['arr_0'].shape == (6, small.SIZE, small.SIZE, 1)
        np.testing.assert_array_equal(found['arr_1'], [0, 1, 2, 3, 0, 0])


def test_a_video_without_ffmpeg_is_an_animated_webp(workdir, tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    flags = ('--grid=0', '--video', '--loop=classes', '--label=0,2', '--frames=3')
    done = call(workdir, tmp_path / 'out', *flags)
    assert 'ffmpeg is not installed: the video is an animated WebP.' in done.out
    assert names(tmp_path / 'out') == ['sheets.json', 'video.webp']
    with Image.open(tmp_path / 'out' / 'video.webp') as image:
        assert (image.n_frames, image.size, image.info['loop']) == (6, (256, 256), 0)


def test_frames_go_to_ffmpeg_one_at_a_time(workdir, tmp_path, monkeypatch):
    program = tmp_path / 'ffmpeg'
    program.write_text(
        f'#!{sys.executable}\n'
        'import sys\n'
        'content = sys.stdin.buffer.read()\n'
        'open(sys.argv[-1], "wb").write(" ".join(sys.argv).encode() + b"\\n" + content)\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    flags = ('--grid=0', '--video', '--seeds=4,5,6', '--frames=2', '--label=1')
    call(workdir, tmp_path / 'out', *flags)
    command, _, content = (tmp_path / 'out' / 'video.mp4').read_bytes().partition(b'\n')
    assert b'-s 256x256 -r 24 ' in command
    frames = np.frombuffer(content, np.uint8).reshape(6, 256, 256, 3)
    sampler = sampling.Sampler(workdir)
    ends = sampler.images(sampler.seeded_latents([4, 5, 6]), sampler.labels(3, 1), None)
    expected = ((ends + 1) * 127.5).repeat(16, 1).repeat(16, 2)
    assert np.abs(frames[::2] - expected).max() < 1.1
    # A signal between two frames.
    coloured = video._coloured
    with monkeypatch.context() as patch:
        stop = lambda frame: os.kill(os.getpid(), signal.SIGINT) or coloured(frame)  # noqa: E731
        patch.setattr(video, '_coloured', stop)
        done = call(workdir, tmp_path / 'out', *flags, code=130)
    assert 'Stopped before the sheets were drawn. Run the same command again' in done.out
    assert not [name for name in names(tmp_path / 'out') if name.endswith('.tmp')]
    assert (tmp_path / 'out' / 'video.mp4').read_bytes().startswith(command)
    program.write_text(f'#!{sys.executable}\nimport sys\nsys.exit("no such codec")\n')
    done = call(workdir, tmp_path / 'out', *flags, '--fps=10', code=1)
    assert 'could not make a video: no such codec' in done.err
    assert (tmp_path / 'out' / 'video.mp4').read_bytes().startswith(command)


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--seeds=5-3'], "seeds='5-3': expected seeds of at most"),
        (['--seeds=1,x'], "seeds='x': expected seeds and ranges"),
        (['--seeds=1-3,2'], 'seeds: 2 is given twice'),
        (['--seeds=0-4294967296'], 'expected seeds of at most 4294967295'),
        (['--seeds=0-99999999'], 'seeds: expected at most 10,000,000'),
        (['--seeds=1', '--count=2'], '--seeds and --count exclude each other'),
        (['--grid=0'], 'nothing to write'),
        (['--label=0,4'], 'label=4: expected 0 to 3'),
        (['--truncation=0'], 'a threshold of z must be positive'),
        (['--seeds=1', '--interpolate=1'], '2 latents are needed, and there are 1 --seeds'),
        (['--video', '--seeds=1'], 'give two --seeds or more'),
        (['--video', '--loop=classes', '--label=1'], 'give two or more by --label'),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_sentence(workdir, tmp_path, flags, message):
    done = call(workdir, tmp_path / 'out', *flags, code=1)
    assert message in done.err
    assert len(done.err.splitlines()) == 1


PEAK = """
import resource, sys
from experiments import sample
code = sample.main(sys.argv[1:])
print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize('kind', ['png', 'npz'])
def test_twenty_thousand_images_take_the_memory_of_two_hundred(tmp_path, kind):
    images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8)
    config = small.make_config(image_size=32, channels=3, num_steps=1)
    trainer.train(config, tmp_path / 'run', dataset=data.from_arrays(images))
    peaks = []
    for count in (200, 20_000):
        flags = [f'--workdir={tmp_path}/run', '--grid=0', f'--count={count}', f'--format={kind}']
        done = subprocess.run(
            [sys.executable, '-c', PEAK, *flags],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(done.stdout.split('peak ')[1]))
    # Two chunks of 256 images rather than one of 200; 200,000 images take no more than 20,000.
    assert peaks[1] < 1.2 * peaks[0], peaks
