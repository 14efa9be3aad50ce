"""What the fault tests share: images, a starter of runs, and runs that nothing happened to."""

import contextlib
import os
import signal

import numpy as np
import pytest
from PIL import Image

from tests.support import launching, small


@pytest.fixture(scope='session')
def pictures():
    """The images of `small` and their labels, sorted by label as a folder's are."""
    source = small.dataset().source
    pairs = sorted((source[i] for i in range(small.EXAMPLES)), key=lambda pair: pair[1])
    return np.stack([image for image, _ in pairs]), np.array([label for _, label in pairs])


@pytest.fixture(scope='session')
def npz(tmp_path_factory, pictures):
    path = tmp_path_factory.mktemp('data') / 'small.npz'
    np.savez(path, images=pictures[0], labels=pictures[1])
    return path


@pytest.fixture
def launch(npz):
    """Starts experiments.train, or another module; what still runs at the end is killed."""
    started = []

    def start(workdir, module='train', **fields):
        if module == 'train':
            fields = {**launching.FIELDS, 'data_dir': npz, **fields}
        started.append(launching.start(module, workdir, **fields))
        return started[-1]

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope='session')
def uninterrupted(tmp_path_factory, npz):
    """Returns the workdir of a run of so many steps, made once, all its checkpoints kept."""
    made = {}

    def run(num_steps):
        if num_steps not in made:
            made[num_steps] = tmp_path_factory.mktemp('whole')
            fields = {**launching.FIELDS, 'data_dir': npz, 'num_steps': num_steps, 'keep': 1000}
            # In this process: it starts in a moment, and is to the bit what one of its own is.
            flags = [f'--{name}={value}' for name, value in fields.items()]
            done = launching.call('train', f'--workdir={made[num_steps]}', *flags)
            assert done.code == 0, done.err
        return made[num_steps]

    return run


@pytest.fixture
def folder(tmp_path, pictures):
    """The images of the npz as files."""
    for index, (image, label) in enumerate(zip(*pictures, strict=True)):
        path = tmp_path / 'images' / str(label) / f'{index:03d}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(path)
    return tmp_path / 'images'
