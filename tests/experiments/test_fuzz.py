"""Random and contradicting flags: a command works, or ends in one sentence and loses nothing."""

import pathlib
import re
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from osgan_jax import networks
from osgan_jax.io import messages
from osgan_jax.pretrained import stylegan2
from tests.support import forked, fuzzing

EXAMPLES = 200
# Bytes that a command may have in memory: all are of tiny networks and images.
MEMORY = 2 * 2**30
_SEED = settings(
    derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
_MODULES = sorted(fuzzing.COMMANDS)


@pytest.fixture(scope='module')
def launcher(tmp_path_factory):
    with forked.Launcher(tmp_path_factory.mktemp('streams'), JAX_NUM_CPU_DEVICES='2') as launcher:
        yield launcher


class Place:
    """A folder of inputs that commands find as it was, whatever those before them did there."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder / 'here'
        self._copy = folder / 'copy'
        self.folder.mkdir()
        fuzzing.write_inputs(self.folder)

    def keep(self) -> None:
        """Takes the folder as it is for what commands are to find."""
        shutil.copytree(self.folder, self._copy)
        self._files = self.files()
        self.kept = {path.name for path in self.folder.iterdir()}

    def files(self) -> dict[str, tuple[int, int]]:
        """Every file and folder, with its size and time."""
        found = {}
        for path in self.folder.rglob('*'):
            status = path.lstat()
            about = (0, 0) if path.is_dir() else (status.st_size, status.st_mtime_ns)
            found[str(path.relative_to(self.folder))] = about
        return found

    def changed(self) -> list[str]:
        """What was there before and is gone, or another."""
        now = self.files()
        return sorted(name for name, about in self._files.items() if now.get(name) != about)

    def added(self) -> list[str]:
        """What was not there before."""
        return sorted(self.files().keys() - self._files.keys())

    def restore(self) -> None:
        """Makes the folder what it was."""
        if self.files() != self._files:
            shutil.rmtree(self.folder)
            shutil.copytree(self._copy, self.folder)


@pytest.fixture(scope='module')
def flags(launcher):
    """The flags of every module."""
    return {module: launcher.flags(module) for module in _MODULES}


@pytest.fixture(scope='module')
def inputs(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp('inputs'))
    place.keep()
    return place


@pytest.fixture(scope='module')
def runs(launcher, tmp_path_factory):
    """A place with a GAN, a teacher and published weights too."""
    place = Place(tmp_path_factory.mktemp('runs'))
    # And with the classifier that scores are made by.
    for module, name in (('train', 'gan'), ('teacher', 'teacher'), ('evaluate', '')):
        argv = [flag.replace(fuzzing.NEW, name) for flag in fuzzing.COMMANDS[module]]
        done = launcher.run(module, argv, place.folder)
        assert done.code == 0, done.err
    rng = np.random.default_rng(0)
    pair = networks.build(
        'stylegan2',
        networks.NetworkOptions(image_size=8, channels=3, width=4, latent_dim=6),
    )
    for network, name in zip(pair, 'GD', strict=True):
        shapes = stylegan2.tensor_shapes(network)
        tensors = {key: rng.normal(size=shape).astype('f4') for key, shape in shapes.items()}
        np.savez(place.folder / f'{name}.npz', **tensors)
    place.keep()
    return place


def check(launcher, place, module, argv, flags):
    """Runs a command and asserts all that a person may expect of it."""
    done = launcher.run(module, argv, place.folder)
    changed, added = place.changed(), place.added()
    place.restore()
    said = f'experiments.{module} {argv}: {done}'
    assert done.code is not None, f'hangs: {said}'
    assert 'Traceback' not in done.out + done.err, said
    assert done.memory < MEMORY, said
    # No errors: how far something is that takes long on this machine, and what goes on without.
    errors = [line for line in done.err.splitlines() if not re.search('^warning: | left$', line)]
    if done.code == 0:
        assert not errors, said
        if module in fuzzing.TRAINS and not {'--report', '--report=true'} & set(argv):
            # It has made its steps, or there were none to make.
            saved = [name for name in added if re.search(r'/checkpoints/\d+/manifest', name)]
            assert saved or 'Already ' in done.out, said
        return done
    assert done.code == 1, said
    assert len(errors) == 1, said
    assert re.match(r'error: \S', errors[0]), said
    # What is at fault: a flag, or what one was set to, as it is printed.
    parts = {part.lstrip('-') for text in argv for part in re.split('[=,:]', text)}
    forms = (str, messages.printable, lambda part: repr(part)[1:-1])
    given = {form(part) for part in parts for form in forms}
    given = {each for each in given if len(each) > 1}
    given |= {"''", '-'}
    names = '|'.join(re.escape(name) for name in {flag['name'] for flag in flags} | given)
    assert re.search(rf'(?<!\w)({names})(?!\w)', done.err), said
    # Nothing is lost, nor left in a folder that was there before.
    assert not changed, (changed, said)
    assert not [name for name in added if name.split('/')[0] in place.kept], (added, said)
    return done


@pytest.mark.parametrize(
    'module',
    [
        # Much of what these two are told works, and takes its time.
        pytest.param(name, marks=[pytest.mark.slow] * (name in ('benchmark', 'table1')))
        for name in _MODULES
    ],
)
def test_wrong_flags_end_in_one_sentence(launcher, flags, inputs, module):
    # Without the runs that most commands ask for: few get as far as to train.
    found = []

    @settings(_SEED, max_examples=4)
    @given(fuzzing.commands(module, flags[module], least=3))
    def refused(argv):
        found.append(check(launcher, inputs, module, argv, flags[module]))

    refused()
    assert any(done.code for done in found)


@pytest.mark.parametrize(
    ('module', 'flag', 'sentence'),
    [
        ('train', '--flagfile=broken.npz', 'error: a --flagfile is to be text of flags'),
        ('train', '--flagfile=folder', 'error: Unable to open flagfile'),
        ('train', '--steps_per_call=1' + 30 * '0', 'at most 2147483647'),
        ('train', '--decay_epochs=1,9999999999', 'at most 2147483647'),
        ('train', '--d_steps=0', 'd_steps=0: expected a number in [1, 1000]'),
        ('train', '--learning_rate_d=1e308', 'expected a finite number, of float32'),
        ('distill', '--temperature=inf', 'expected a finite number, of float32'),
        ('sample', '--seed=4294967296', 'seed=4294967296: expected a number'),
    ],
)
def test_what_was_found(launcher, flags, inputs, module, flag, sentence):
    argv = [*fuzzing.COMMANDS[module], flag]
    assert sentence in check(launcher, inputs, module, argv, flags[module]).err


@pytest.mark.slow
@pytest.mark.parametrize('module', _MODULES)
def test_the_commands_that_are_changed_work(launcher, runs, module):
    done = launcher.run(module, list(fuzzing.COMMANDS[module]), runs.folder)
    runs.restore()
    assert (done.code, done.err) == (0, ''), done


@pytest.mark.slow
@pytest.mark.parametrize('module', _MODULES)
def test_flags_that_nearly_work(launcher, flags, runs, module):
    found = {}

    @settings(_SEED, max_examples=EXAMPLES)
    @given(fuzzing.commands(module, flags[module]))
    def works_or_is_refused(argv):
        if tuple(argv) not in found:
            found[tuple(argv)] = check(launcher, runs, module, argv, flags[module])

    works_or_is_refused()
    refused = sum(done.code != 0 for done in found.values())
    assert 0 < refused < len(found)
