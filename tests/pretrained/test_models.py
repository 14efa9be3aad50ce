"""The models of the package: small, described in full, and what their cards say."""

import json
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import sklearn.datasets

import osgan_jax
from experiments import cli
from osgan_jax.compression import teachers
from osgan_jax.core import image_sizes
from osgan_jax.engine.declarations import declarations
from osgan_jax.gan import exported, methods, model
from osgan_jax.gan.config import TrainConfig
from osgan_jax.io import packaged
from osgan_jax.pretrained import cards
from tests.support import ROOT, commands

NAMES = osgan_jax.pretrained.names()
MOST_BYTES, MOST_BYTES_OF_D = 4 * 10**6, 10**6
FILES = {'card.json', 'export.json', 'README.txt', 'generator.safetensors'}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def description(name):
    return json.loads((packaged.folder(name) / exported.DESCRIPTION).read_text())


def test_a_model_is_small_and_whole(name):
    sizes = {path.name: path.stat().st_size for path in packaged.folder(name).iterdir()}
    assert FILES <= sizes.keys() <= FILES | {'discriminator.safetensors'}
    assert sizes['generator.safetensors'] <= MOST_BYTES
    assert sizes.get('discriminator.safetensors', 0) <= MOST_BYTES_OF_D


def test_no_file_names_a_folder_of_the_machine_it_was_made_on(name):
    for path in packaged.folder(name).iterdir():
        if path.suffix != '.safetensors':
            assert not re.search(r'(^|[\s"\'=])(/|~|[A-Z]:\\)\w', path.read_text()), path


def test_a_card_is_filled_in_and_says_what_was_recorded(name):
    card, facts = osgan_jax.pretrained.card(name), description(name)
    assert cards.gaps(card) == []
    assert card['steps'] == facts['step']
    assert card['data']['images'] == facts['run']['dataset']['num_examples']
    recorded = ROOT / 'benchmarks' / 'results' / 'pretrained' / f'{name}.jsonl'
    lines = [json.loads(line) for line in recorded.read_text().splitlines()]
    for line in lines:
        line.pop('per_class', None)
    assert card['scores'] == [line for line in lines if line['step'] == facts['step']]
    assert all(entry['num_samples'] >= 5_000 for entry in card['scores'])


def test_licences_are_those_of_the_page(name):
    card = osgan_jax.pretrained.card(name)
    page = (ROOT / 'docs' / 'licences.md').read_text()
    assert card['licence'] == 'Apache-2.0'
    terms = re.search(r'^\| .*`' + name + r'`.*\|$', page, re.MULTILINE)[0]
    assert card['data']['licence'] in terms


def test_the_guide_shows_every_model(name):
    card = osgan_jax.pretrained.card(name)
    guide = (ROOT / 'docs' / 'guides' / 'pretrained.md').read_text()
    row = re.search(rf'^\| `{name}` \|.*$', guide, re.MULTILINE)[0]
    size = (packaged.folder(name) / 'generator.safetensors').stat().st_size
    assert card['title'] in row
    assert f'{size / 1e6:.1f} MB' in row


def test_the_command_of_a_card_gives_its_configuration(name):
    words = shlex.split(osgan_jax.pretrained.card(name)['command'])
    assert words[:3] == ['python', '-m', 'experiments.train']
    found = []
    command = cli.Command(
        lambda *configs: found.append(configs), commands.find('train')._config_classes
    )
    assert command([*words[3:], '--workdir=w']) == 0
    asked = found[0][1]
    run = description(name)['run']
    kept = TrainConfig.from_json(json.dumps(run['config']))
    got = methods.resolve(
        methods.opening(asked),
        image_size=image_sizes.parse(kept.image_size),
        channels=kept.channels,
        num_classes=run['dataset']['num_classes'],
        num_examples=run['dataset']['num_examples'],
        asked=asked,
    )
    for each in declarations(TrainConfig).values():
        if not each.may_change or each.name == 'num_steps':
            assert getattr(got, each.name) == getattr(kept, each.name), each.name


def test_a_model_draws_various_images(name):
    sampler, card = osgan_jax.pretrained.load(name), osgan_jax.pretrained.card(name)
    assert sampler.step == card['steps']
    assert model.num_parameters(sampler.variables['params']) == card['parameters']['generator']
    images = sampler.images(sampler.latents(20, seed=0), sampler.labels(20))
    assert images.shape == (20, *sampler.gan.image_shape)
    assert np.isfinite(images).all()
    assert images.min() < -0.5
    assert images.max() > 0.5
    assert images.std(axis=0).max() > 0.3


def test_a_discriminator_tells_samples_from_noise(name):
    if 'discriminator' not in osgan_jax.pretrained.card(name)['parameters']:
        with pytest.raises(ValueError, match='is an export without its discriminator'):
            teachers.load(f'pretrained:{name}')
        return
    teacher = teachers.load(f'pretrained:{name}')
    sampler = osgan_jax.pretrained.load(name)
    labels = sampler.labels(20)
    images = sampler.images(sampler.latents(20, seed=0), labels)
    noise = np.random.default_rng(0).uniform(-1, 1, images.shape).astype(np.float32)
    logits = [teacher.discriminate(teacher.variables, each, labels) for each in (images, noise)]
    assert logits[0].mean() > logits[1].mean()


def test_digits_are_of_the_class_asked_for():
    """A nearest-neighbour rule on the real digits finds the class that was asked for."""
    sampler = osgan_jax.pretrained.load('digits')
    labels = np.asarray(sampler.labels(20))
    images = sampler.images(sampler.latents(20, seed=0), labels)
    small = images.reshape(20, 8, 2, 8, 2).mean((2, 4)).reshape(20, 1, 64)
    real = sklearn.datasets.load_digits()
    distances = ((real.data / 8 - 1 - small) ** 2).sum(-1)
    found = real.target[distances.argmin(1)]
    assert (found == labels).mean() >= 0.9


def test_other_names_are_refused():
    for function in (osgan_jax.pretrained.load, osgan_jax.pretrained.card):
        with pytest.raises(ValueError, match=r"pretrained='dogs': expected one of .*digits"):
            function('dogs')


@pytest.mark.process
def test_a_list_of_models_needs_no_jax():
    code = (
        'import sys, osgan_jax; print(osgan_jax.pretrained.names()); '
        'sys.exit("jax" in sys.modules or "numpy" in sys.modules)'
    )
    ran = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, f'{NAMES}\n'), ran.stderr


def test_every_model_is_one_of_the_folders():
    folders = {path.name for path in packaged.FOLDER.iterdir() if path.is_dir()}
    assert {*NAMES} == folders
