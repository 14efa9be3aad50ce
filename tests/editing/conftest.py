"""Generators that the tests of edits share, compiled once."""

import pytest

from osgan_jax import editing
from tests.support.editable import CLASSES, HandMade


@pytest.fixture(scope='session')
def style():
    sampler = HandMade('stylegan2', CLASSES)
    return sampler, editing.EditableGenerator(sampler.gan, sampler.variables, rows=2)


@pytest.fixture(scope='session')
def plain():
    sampler = HandMade('dcgan', 0)
    return sampler, editing.EditableGenerator(sampler.gan, sampler.variables, rows=2)
