"""Exports: back to the bit, and programs that run where this package is not."""

import dataclasses
import json
import re
import subprocess
import sys
import textwrap
import types

import jax
import jax.export
import numpy as np
import pytest
import safetensors.numpy

from osgan_jax import reporting
from osgan_jax.gan import exported, model, reading, sampling, trainer
from osgan_jax.pretrained import export, stablehlo
from tests.support import launching, small

# As the program that JAX promises to run; osgan_jax is not to be found.
ELSEWHERE = """
import sys
sys.modules['osgan_jax'] = sys.modules['flax'] = None
try:
    import osgan_jax
except ImportError:
    exec(sys.stdin.read())
    print(images.shape, pixels.dtype, pixels.std() > 1)
"""


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp('cgan')
    rates = {'learning_rate_g': 0.05, 'learning_rate_d': 0.05}  # weights large enough to see
    config = small.make_config(method='cgan', num_steps=2, save_every=1, ema_decay=0.5, **rates)
    trainer.train(config, path, dataset=small.dataset())
    return path


def lines(folder):
    """The Python of a README."""
    return textwrap.dedent((folder / export.README).read_text().split('folder:\n\n')[1])


def equal(one, other):
    one, other = exported.flatten(one), exported.flatten(other)
    assert one.keys() == other.keys()
    for name, leaf in one.items():
        assert np.asarray(leaf).dtype == np.asarray(other[name]).dtype
        assert np.asarray(leaf).tobytes() == np.asarray(other[name]).tobytes(), name


@pytest.mark.parametrize('kind', exported.FORMATS)
def test_weights_come_back_to_the_bit(workdir, tmp_path, kind):
    folder = export.export(workdir, kind, out=tmp_path / 'given', step=1, discriminator=True)
    run = sampling.Sampler(workdir, 1)
    again = sampling.Sampler(folder)
    equal(again.variables, run.variables)
    assert (again.step, again.run) == (1, run.run)
    z, labels = run.latents(3, 0), run.labels(3)
    np.testing.assert_array_equal(again.images(z, labels), run.images(z, labels))
    # As others read it.
    path = folder / f'generator.{kind}'
    arrays = safetensors.numpy.load_file(path) if kind == 'safetensors' else dict(np.load(path))
    name = 'params/ConvTranspose_0/kernel'
    np.testing.assert_array_equal(
        arrays[name], run.variables['params']['ConvTranspose_0']['kernel']
    )
    facts = json.loads((folder / exported.DESCRIPTION).read_text())
    assert (facts['step'], facts['average'], facts['num_classes']) == (1, True, small.CLASSES)
    assert (facts['latent_dim'], facts['image_shape']) == (6, [small.SIZE, small.SIZE, 1])
    assert set(facts['files']) == {path.name, f'discriminator.{kind}'}
    with pytest.raises(ValueError, match=r'step=2: .* is an export of step 1'):
        sampling.Sampler(folder, 2)
    names = {}
    code = lines(folder).replace("'.'", repr(str(folder)))
    exec(code, names)
    np.testing.assert_array_equal(names['images'], run.images(run.latents(8, 0), run.labels(8)))


def test_weights_of_training_are_taken_where_asked(workdir, tmp_path):
    _, _, restored = reading.restore(workdir)
    folder = export.export(workdir, 'npz', out=tmp_path / 'plain', average=False)
    equal(sampling.Sampler(folder).variables, restored.state.settled_variables())
    done = launching.call('sample', f'--workdir={folder}', '--grid=4')
    assert done.code == 0, done.err
    assert (folder / 'generated' / 'grid.png').exists()


@pytest.mark.process
def test_a_program_runs_where_this_package_is_not(workdir, tmp_path):
    pytest.importorskip('flatbuffers')
    done = launching.call(
        'export', f'--workdir={workdir}', '--format=stablehlo', f'--out={tmp_path}/o'
    )
    assert done.code == 0, done.err
    folder = tmp_path / 'o'
    assert 'Wrote README.txt, export.json, generator.stablehlo' in done.out
    code = lines(folder)
    assert len(code.splitlines()) == 5
    code += "np.savez('drawn.npz', z=z, images=images)\n"
    ran = subprocess.run(
        [sys.executable, '-c', ELSEWHERE], input=code, cwd=folder, capture_output=True, text=True
    )
    assert ran.stdout == '(8, 16, 16, 1) uint8 True\n', ran.stderr
    sampler = sampling.Sampler(workdir)
    with np.load(folder / 'drawn.npz') as drawn:
        np.testing.assert_allclose(
            drawn['images'], sampler.images(drawn['z'], sampler.labels(8)), atol=1e-5
        )
    facts = json.loads((folder / exported.DESCRIPTION).read_text())['program']
    assert [each['name'] for each in facts['arguments']] == ['z', 'label']
    assert facts['arguments'][0]['shape'] == ['batch', 6]
    program = jax.export.deserialize(bytearray((folder / 'generator.stablehlo').read_bytes()))
    assert program.platforms == tuple(facts['platforms']) == ('cpu', 'cuda', 'tpu')
    assert program.calling_convention_version == facts['calling_convention']
    with pytest.raises(ValueError, match='holds a compiled generator and no weights'):
        sampling.Sampler(folder)


@pytest.mark.parametrize(
    'name',
    [
        'stylegan2',
        *(pytest.param(n, marks=pytest.mark.slow) for n in ('biggan', 'r3gan', 'resnet_gan')),
    ],
)
def test_programs_of_other_networks_draw_what_the_sampler_does(name):
    pytest.importorskip('flatbuffers')
    size = 8 if name == 'stylegan2' else 32
    fields = {'method': {'resnet_gan': 'sngan_resnet'}.get(name, name), 'image_size': size}
    if name == 'biggan':
        fields['latent_dim'] = 8  # equal parts
    gan = build(**fields, scheme='two_stage', batch_size=4)
    state = jax.jit(lambda: model.create(gan, 0))()
    sampler = sampling.Sampler.__new__(sampling.Sampler)
    sampler.gan, sampler.variables = gan, state.sampling_variables()
    sampler._generate = sampling.inference.compile_generator(gan.generator)
    sampler.run = types.SimpleNamespace(class_names=())
    program = stablehlo.serialise(gan, sampler.variables)
    call = jax.export.deserialize(bytearray(program.content)).call
    z, labels = sampler.latents(3, 1), sampler.labels(3)
    values = {'z': z, 'label': labels, 'seed': np.uint32(2**32 - 1), 'truncation': np.float32(0.5)}
    names = [each['name'] for each in program.arguments]
    truncation = 0.5 if name == 'stylegan2' else None
    assert ('seed' in names, 'truncation' in names) == (truncation is not None,) * 2
    expected = sampler.images(z, labels, 2**32 - 1, truncation)
    np.testing.assert_allclose(call(*(values[each] for each in names)), expected, atol=2e-5)
    assert expected.std() > 1e-4


def test_latents_that_are_not_normal_are_said(workdir):
    _, gan, restored = reading.restore(workdir)
    network = dataclasses.replace(gan.network, latents=jax.random.uniform)
    own = dataclasses.replace(gan, network=network)
    for each, words in ((gan, 'normal of mean 0'), (own, 'which is not normal')):
        if stablehlo.has_own_latents(each):
            assert 'own distribution' in export._program_lines(each, [])[2]
        program = stablehlo.serialise(each, restored.state.sampling_variables())
        assert words in program.arguments[0]['meaning']


def test_what_needs_more_than_an_export_says_so(workdir, tmp_path):
    folder = export.export(workdir, 'npz', out=tmp_path / 'e')
    with pytest.raises(ValueError, match='e is an export, which holds a generator and no checkp'):
        reading.restore(folder)
    image = tmp_path / 'image.png'
    reporting.save_png(image, np.zeros((small.SIZE, small.SIZE, 1), np.uint8))
    done = launching.call('edit', f'--workdir={folder}', f'--project={image}')
    assert done.code == 1
    assert 'or compare by --similarity=pixels' in done.err
    flags = ('--similarity=pixels', '--project_steps=1', '--project_samples=2', '--restarts=1')
    done = launching.call('edit', f'--workdir={folder}', f'--project={image}', *flags)
    assert done.code == 0, done.err


def build(**fields):
    config = small.resolve(small.make_config(**fields))
    return model.build(config, num_classes=small.CLASSES, steps_per_epoch=5)


def test_nothing_is_overwritten_unasked(workdir, tmp_path):
    folder = export.export(workdir, 'npz', out=tmp_path / 'e')
    before = (folder / exported.DESCRIPTION).read_bytes()
    with pytest.raises(ValueError, match='e already exists: give another --out, or --overwrite'):
        export.export(workdir, 'npz', out=folder)
    export.export(workdir, 'npz', out=folder, step=1, overwrite=True)
    assert (folder / exported.DESCRIPTION).read_bytes() != before
    with pytest.raises(ValueError, match='is not an export, and is not replaced'):
        export.export(workdir, 'npz', out=workdir, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['e']


def test_what_cannot_be_exported_is_said_in_a_sentence(workdir, tmp_path, monkeypatch):
    def refused(message, *flags):
        done = launching.call('export', *flags)
        assert (done.code, done.out) == (1, '')
        assert re.search(message, done.err), done.err

    here = f'--workdir={workdir}'
    refused('should be one of <safetensors', here, '--format=onnx')
    refused('holds no run', f'--workdir={tmp_path}', '--format=npz')
    refused('no checkpoint of step 7', here, '--format=npz', '--step=7')
    refused('without D: take --format=safetensors', here, '--format=stablehlo', '--discriminator')
    (tmp_path / 'config.json').write_text('{"kind": "teacher", "config": {}, "dataset": {}}')
    refused('holds a run of experiments.teacher', f'--workdir={tmp_path}', '--format=npz')
    monkeypatch.setitem(sys.modules, 'flatbuffers', None)
    refused('needs the package flatbuffers: install it', here, '--format=stablehlo')
    assert not (workdir / 'exported').exists() or not any((workdir / 'exported').iterdir())


def test_damaged_exports_are_refused(workdir, tmp_path):
    folder = export.export(workdir, 'safetensors', out=tmp_path / 'e')
    path, facts = folder / 'generator.safetensors', folder / exported.DESCRIPTION
    content, text = path.read_bytes(), facts.read_text()
    path.write_bytes(content[:-4] + b'1234')
    with pytest.raises(ValueError, match='damaged or another file'):
        sampling.Sampler(folder)
    path.write_bytes(content)
    facts.write_text(text.replace('"width": 4', '"width": 8'))
    with pytest.raises(ValueError, match='does not hold the weights of its configuration'):
        sampling.Sampler(folder)
    for bad in ('{', '[]', '{"format": "x"}', text.replace('"step": 2', '"step": "2"')):
        facts.write_text(bad)
        with pytest.raises(ValueError, match=r'export\.json cannot be used .*: export again'):
            sampling.Sampler(folder)
