"""Every command and every Python block of README and of the site's pages works."""

import contextlib
import pathlib
import re
import runpy
import shlex
import shutil
import subprocess
import zipfile

import numpy as np
import pytest
from PIL import Image

from experiments import cli
from tests.support import ROOT, commands

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in [
        ROOT / 'README.md',
        ROOT / 'benchmarks' / 'README.md',
        *sorted((ROOT / 'docs').rglob('*.md')),
    ]
    if not {'generated', '_build'} & {*path.parts}
}
# What may stand in a block beside the project's own commands.
OTHERS = ('make', 'pip', 'git', 'cd')


def blocks(language):
    found = {
        name: re.findall(rf'^```{language}\n(.*?)^```', text, re.DOTALL | re.MULTILINE)
        for name, text in PAGES.items()
    }
    return {name: texts for name, texts in found.items() if texts}


def spoken(block):
    """The commands of a block as a shell reads them, variables and line ends included."""
    programs = ('python', *(f'osgan-{module}' for module in commands.MODULES), *OTHERS)
    shell = ''.join(
        f'{program}() {{ printf "%s\\n" "{program} ${{*@Q}}"; }}\n' for program in programs
    )
    script = f'set -eu\nPATH=\n{shell}{block}'
    ran = subprocess.run(['/bin/bash', '-c', script], capture_output=True, text=True)
    assert not ran.stderr, f'{ran.stderr}\n{block}'
    return [shlex.split(line) for line in ran.stdout.splitlines()]


def ours(words):
    """The module and the flags of one of the project's commands; None of another's."""
    if words[0].startswith('osgan-'):
        return words[0].removeprefix('osgan-'), words[1:]
    if words[:2] == ['python', '-m']:
        return words[2].removeprefix('experiments.'), words[3:]
    return None


SHELL = blocks('sh')
COMMANDS = {
    name: [words for block in texts for words in spoken(block)] for name, texts in SHELL.items()
}


def test_blocks_are_found():
    assert len(COMMANDS) > 8
    assert sum(map(len, COMMANDS.values())) > 40
    assert len(blocks('python')) >= 3


@pytest.mark.parametrize('page', COMMANDS)
def test_every_command_is_understood(page, capsys):
    for words in COMMANDS[page]:
        if ours(words) is None:
            assert words[0] in OTHERS, words
            continue
        module, flags = ours(words)
        if module.startswith('osgan_jax.'):
            assert re.fullmatch(r'osgan_jax\.data\.\w+', module)
            continue
        command = commands.find(module)
        # Flags and their values are checked as they would be; nothing is done.
        checked = cli.Command(lambda *configs: None, command._config_classes)
        assert checked(flags) == 0, f'{shlex.join(words)}\n{capsys.readouterr().err}'


# What a command would take hours for, made small; the flags of the page stand otherwise.
SMALL = {
    'train': '--num_steps=2 --width=8 --batch_size=8 --num_samples=4 --num_devices=1',
    'teacher': '--num_steps=2 --batch_size=8 --num_devices=1',
    'distill': '--num_steps=2 --batch_size=8 --generator_width=8 --num_devices=1',
    'compress': (
        '--stage_one_kimg=0.008 --stage_two_kimg=0.008 --num_samples=4 --num_devices=1 '
        '--report_size=32 --report_repeats=1'
    ),
    'evaluate': '--num_samples=64 --classifier=small',
    'table1': (
        '--methods=lsgan --seeds=0 --width=8 --batch_size=8 --num_samples=64 --num_devices=1 '
        '--classifier=small --eval_every=2 --eval_samples=64'
    ),
    'table2': (
        '--teacher_steps=2 --student_updates=2 --batch_size=8 --generator_width=8 --seeds=0 '
        '--algorithms=one_stage --num_devices=1'
    ),
    # As many devices as this process has: a command may ask for a number before jax starts alone.
    'benchmark': '--image_size=16 --width=8 --batch_size=8 --repeats=1 --precision=float32',
    'edit': '--frames=2 --rows=2 --columns=2 --project_steps=2 --project_samples=8',
}
# What cannot be had without the network, or an accelerator's time.
ABSENT = re.compile(
    r'--dataset=(mnist|cifar10|celeb_a|tfds)|_weights=|--student=resnet|--distill=resnet|=FILE'
)
# Commands of these are among others' tests, or need what other pages make.
ELSEWHERE = {'convert', 'osgan_jax.data.convert', 'osgan_jax.data.prepare'}


def images(folder):
    for label in ('cats', 'dogs'):
        (folder / label).mkdir(parents=True)
        for i in range(40):
            noise = np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(noise).save(folder / label / f'{i}.png')


@pytest.fixture(scope='module')
def desk(tmp_path_factory):
    """A directory with the files that pages speak of."""
    there = tmp_path_factory.mktemp('desk')
    images(there / 'photos')
    (there / 'mine').mkdir()
    for name, index in (('five', 0), ('seven', 1)):
        shutil.copy(there / 'photos' / 'cats' / f'{index}.png', there / 'mine' / f'{name}.png')
    with zipfile.ZipFile(there / 'generated.zip', 'w') as archive:
        for path in sorted((there / 'photos').rglob('*.png')):
            archive.write(path, path.relative_to(there / 'photos'))
    shutil.copy(ROOT / 'tests' / 'support' / 'own_nets.py', there / 'my_nets.py')
    random = np.random.default_rng(0)
    np.savez(
        there / 'cifar10_train.npz',
        images=random.integers(0, 256, (200, 32, 32, 3), np.uint8),
        labels=np.arange(200) % 10,
    )
    return there


def small(module, flags):
    extra = shlex.split(SMALL.get(module, ''))
    given = {flag.partition('=')[0] for flag in flags}
    if module == 'table1' and '--budget' in given:
        return [*flags, *extra, '--budget=1']
    if module == 'table1':
        extra.append('--num_steps=2')
    if module == 'compress' and '--report' not in given:
        extra = [each for each in extra if not each.startswith('--report')]
    return [*flags, *extra]


@pytest.mark.slow
@pytest.mark.parametrize('page', COMMANDS)
def test_commands_run_in_the_order_of_the_page(page, desk, monkeypatch, capsys):
    monkeypatch.chdir(desk)
    shutil.rmtree('runs', ignore_errors=True)  # another page's
    for words in COMMANDS[page]:
        module, flags = ours(words) or (None, [])
        if module is None or module in ELSEWHERE or ABSENT.search(shlex.join(words)):
            continue
        code = commands.find(module)(small(module, flags))
        assert code == 0, f'{shlex.join(words)}\n{capsys.readouterr().err[-2000:]}'


@pytest.mark.slow
@pytest.mark.parametrize('page', blocks('python'))
def test_python_blocks_of_a_page_run_one_after_another(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # The example of a ring learns in a test of its own.
    code = '\n'.join(blocks('python')[page]).replace('range(4000)', 'range(20)')
    pathlib.Path('page.py').write_text(code)
    with contextlib.suppress(SystemExit):
        runpy.run_path('page.py', run_name='__main__')
