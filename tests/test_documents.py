"""Every command and every Python block of README and of the site's pages works."""

import contextlib
import pathlib
import re
import runpy
import shlex
import subprocess
import zipfile

import numpy as np
import pytest
from PIL import Image

from experiments import cli
from osgan_jax.data import prepare
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
