"""--help: every flag of a module under its group, the command as typed, and no wait for jax."""

import inspect
import itertools
import re
import subprocess
import sys

import pytest

from osgan_jax.core import losses
from osgan_jax.distillation.config import DistillConfig
from osgan_jax.engine.declarations import GROUPS, REQUIRED, declarations
from osgan_jax.evaluation.metrics import registry
from osgan_jax.gan import methods
from osgan_jax.gan.config import TrainConfig
from osgan_jax.networks import classifier_registry, classifiers
from tests.support import ROOT, commands, launching

HELP = """
import sys
from tests.support import commands
for name in sys.argv[1:]:
    commands.find(name)(['--help'])
print(sorted({'jax', 'flax', 'optax', 'orbax'} & set(sys.modules)))
"""


@pytest.fixture(scope='module', params=commands.MODULES)
def shown(request):
    """A module's command, and what --help prints."""
    code, out, err = launching.call(request.param, '--help')
    assert (code, err) == (0, '')
    return commands.find(request.param), out


def groups(text):
    """What is said of each flag, in one line, by group."""
    parts = re.split(rf'^({"|".join(GROUPS)}):\n', text, flags=re.MULTILINE)
    return {
        group: {
            flag: ' '.join(said.split())
            for flag, said in re.findall(r'^  --(?:\[no\])?(\w+).*\n((?: {6}.*\n)+)', body, re.M)
        }
        for group, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def test_every_flag_is_listed_under_its_group(shown):
    command, text = shown
    expected = {group: set() for group in GROUPS}
    for name, each in command.fields.items():
        expected[each.group].add(name)
    expected['other'] |= {'flagfile', 'helpfull'}
    found = groups(text)
    assert list(found) == [group for group in GROUPS if expected[group]]
    assert {group: set(said) for group, said in found.items()} == {
        group: names for group, names in expected.items() if names
    }


def test_every_flag_says_its_default_its_range_and_its_values(shown):
    command, text = shown
    said = {name: words for group in groups(text).values() for name, words in group.items()}
    for name, each in command.fields.items():
        assert each.help in said[name]
        assert each.range().removeprefix('of ') in said[name]
        for value in each.values():
            assert re.search(rf'\b{value}\b', said[name]), (name, value)
        for place in each.decided_by if each.default in (None, ()) else ():
            assert place in said[name]
        if each.default is REQUIRED:
            assert 'required' in said[name]
        elif each.default not in (None, ()) and not isinstance(each.default, bool | tuple):
            assert f'default: {each.default}' in said[name]
        else:
            assert 'default' in said[name]


def test_the_command_is_shown_as_it_is_typed(shown):
    command, text = shown
    doc = inspect.getmodule(command.function).__doc__
    assert text.startswith(doc.strip() + '\n')
    # A line that goes on says so.
    lines = text.splitlines()
    for line, following in itertools.pairwise(lines):
        if re.match(r' +(python -m|--)', line) and re.match(r' {8}--\w+=', following):
            assert line.endswith(' \\')


def test_names_that_help_lists_are_those_that_are_accepted():
    fields = declarations(TrainConfig)
    assert fields['loss'].values() == losses.names()
    for name in fields['loss'].values():
        assert losses.get(name).name == name
    assert fields['method'].values() == methods.names()
    for name in fields['method'].values():
        methods.get(name)
    for name in classifier_registry.names():
        classifiers.build(name)
    assert declarations(DistillConfig)['student'].values() == classifier_registry.names()
    assert commands.find('evaluate').fields['metrics'].values() == registry.names()


def test_hyperparameters_of_losses_are_in_the_help():
    said = declarations(TrainConfig)['loss_options'].help
    for name in losses.names():
        for parameter in inspect.signature(getattr(losses, name)).parameters.values():
            default = str(parameter.default).lower()
            assert re.search(rf'{parameter.name}={default}.*of {name}\b', said)


def test_absl_flags_come_with_helpfull_alone(shown):
    assert '--run_with_pdb' not in shown[1]
    assert '--[no]run_with_pdb' in launching.call('sample', '--helpfull').out


def test_help_waits_for_no_jax():
    done = subprocess.run(
        [sys.executable, '-c', HELP, *commands.MODULES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == '[]'
