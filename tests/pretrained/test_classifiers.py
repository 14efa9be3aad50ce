"""Classifiers of PyTorch against the same networks in PyTorch, and what is not one."""

import re

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

from osgan_jax import distillation
from osgan_jax.networks import classifiers as networks
from osgan_jax.pretrained import classifiers, standardisations
from tests.support import launching, modules
from tests.support.marks import slow_but

torch = pytest.importorskip('torch')

from tests.support import torch_classifiers  # noqa: E402 (needs torch)

ALL = (
    *('resnet18', 'resnet34', 'resnet18_imagenet', 'resnet50_imagenet'),
    *('wrn16_1', 'wrn16_2', 'lenet5'),
)


def tensors_of(module):
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize('name', slow_but(ALL, 'wrn16_1', 'lenet5'))
def test_logits_are_those_of_pytorch(name):
    module = torch_classifiers.make(name, classes=7)
    size, channels = (32, 1) if name == 'lenet5' else (64 if 'imagenet' in name else 16, 3)
    found = classifiers.find({f'module.{n}': t for n, t in tensors_of(module).items()})
    assert (found.name, found.num_classes, found.channels) == (name, 7, channels)
    images = np.random.default_rng(0).normal(size=(3, size, size, channels)).astype(np.float32)
    expected = torch_classifiers.logits(module, images)
    own = networks.build(name, image_size=size, channels=channels, num_classes=7)
    logits = modules.apply(own, found.variables, images, train=False).logits
    assert np.std(expected) > 1e-2
    np.testing.assert_allclose(logits, expected, atol=1e-4 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize('name', ALL)
def test_all_tensors_have_a_place(name):
    # Names and shapes alone: no numbers are converted.
    module = torch_classifiers.make(name, classes=3)
    theirs = {n: tuple(t.shape) for n, t in module.state_dict().items() if 'num_batches' not in n}
    shortcut, head = ('shortcut', 'linear') if name == 'resnet18' else ('downsample', 'fc')
    channels = 1 if name == 'lenet5' else 3
    ours = classifiers.tensor_names(name, 3, channels, head=head, shortcut=shortcut)
    assert {n: tensor.shape for n, tensor in ours.items()} == theirs
    assert len({tensor.path for tensor in ours.values()}) == len(ours)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda t: t | {'block2.layer.0.bn2.weigth': t.pop('block2.layer.0.bn2.weight')},
            r"1 missing: 'block2.layer.0.bn2.weight'; 1 unknown: 'block2.layer.0.bn2.weigth' "
            r"\(near 'block2.layer.0.bn2.weight'\)",
        ),
        (lambda t: {n: v for n, v in t.items() if n != 'bn1.running_var'}, "missing: 'bn1.running"),
        (
            lambda t: t | {'conv1.weight': t['conv1.weight'][:, :, :1]},
            r"1 of another shape: 'conv1.weight' \[16, 3, 1, 3\] for \[16, 3, 3, 3\]",
        ),
        (lambda t: t | {'bn1.running_var': -t['bn1.running_var']}, 'variances below zero'),
        (lambda t: t | {'fc.weight': t['fc.weight'][:, :32]}, 'a wide ResNet 16-0.5 is not among'),
        (lambda t: t | {'fc.weight': t['fc.weight'][0]}, r"'fc.weight' is \[64\], but has 2 dim"),
        (lambda t: {n: v for n, v in t.items() if 'fc' not in n}, "the last layer, 'fc.weight' or"),
        (lambda t: t | {'block1.layer.2.conv1.weight': t['conv1.weight']}, 'a wide ResNet 22-1 is'),
        (lambda t: {'features.0.weight': t['conv1.weight']}, "found 'features.0.weight'"),
        (lambda t: {}, 'found no tensors'),
    ],
)
def test_what_is_no_classifier_is_named(change, message):
    tensors = tensors_of(torch_classifiers.make('wrn16_1'))
    with pytest.raises(ValueError, match=message):
        classifiers.find(change(tensors))


def test_a_teacher_from_a_checkpoint(tmp_path):
    module = torch_classifiers.make('wrn16_1')
    path, workdir = tmp_path / 'ckpt.pth', tmp_path / 'run'
    # As kuangliu's training writes it.
    torch.save({'net': module.state_dict(), 'acc': 94.5, 'epoch': 199}, path)
    names = tmp_path / 'names.txt'
    names.write_text('\n'.join('0123456789'))
    flags = (
        '--classifier',
        f'--weights={path}',
        f'--workdir={workdir}',
        '--dataset=digits',
        '--image_size=16',
        f'--class_names_file={names}',
    )
    done = launching.call('convert', *flags)
    assert done.code == 1
    assert 'give --standardisation, one of cifar10, ' in done.err
    assert not workdir.exists()
    done = launching.call('convert', *flags, '--standardisation=imagenet', '--measure')
    assert done.code == 0, done.err
    assert 'wrn16_1 with 10 classes and 175,066 parameters, for 16x16x3 images' in done.out
    found = distillation.load(workdir)
    mean, std = standardisations.STANDARDISATIONS['imagenet']
    assert (found.architecture, found.step) == ('wrn16_1', 0)
    assert (found.run.config.mean, found.run.config.std) == (mean, std)
    assert found.run.class_names == tuple('0123456789')
    pixels = np.random.default_rng(1).integers(0, 256, (4, 16, 16, 3)).astype(np.float32)
    expected = torch_classifiers.logits(module, (pixels / 255 - np.float32(mean)) / np.float32(std))
    logits = jax.jit(lambda images: found(images))(pixels / 127.5 - 1)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    # The accuracy that was printed is that of PyTorch, on the 297 test digits.
    from osgan_jax import data

    test = data.load('digits', split='test', image_size=16, channels=3)
    rows = [test[index] for index in range(len(test))]
    images = np.stack([row['image'] for row in rows]) / np.float32(255)
    right = torch_classifiers.logits(module, (images - np.float32(mean)) / np.float32(std)).argmax(
        1
    )
    share = np.mean(right == [row['label'] for row in rows])
    assert len(load_digits().target) - 1500 == len(test)
    printed = re.search(r'([\d.]+)% of the 297 test images of digits', done.out)
    assert float(printed[1]) / 100 == pytest.approx(share, abs=2 / 297)
    done = launching.call('convert', *flags, '--standardisation=imagenet')
    assert done.code == 1
    assert 'already holds a run' in done.err


@pytest.mark.parametrize(
    ('flags', 'sentence'),
    [
        (['--classifier', '--method=biggan'], '--method is of a GAN: leave it out with --cl'),
        (['--classifier', '--width=4'], '--width is of a GAN'),
        (['--classifier', '--measure'], '--measure needs images: give --dataset'),
        (['--classifier', '--class_names_file=/nowhere'], 'class_names_file=/nowhere: exp'),
        (['--classifier', '--standardisation=foo'], "standardisation='foo': expected one of cifar"),
        (['--measure'], 'go with --classifier: give it too'),
        ([], 'give --method and --dataset, or --classifier'),
    ],
)
def test_wrong_flags_are_one_sentence(tmp_path, flags, sentence):
    done = launching.call('convert', '--weights=x.pth', f'--workdir={tmp_path}/run', *flags)
    assert done.code == 1
    assert sentence in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.slow
def test_a_student_of_a_converted_teacher(tmp_path):
    path = tmp_path / 'wrn.pth'
    torch.save(torch_classifiers.make('wrn16_1').state_dict(), path)
    teacher = f'{tmp_path}/teacher'
    done = launching.call(
        'convert',
        '--classifier',
        f'--weights={path}',
        '--standardisation=half',
        '--image_size=16',
        f'--workdir={teacher}',
    )
    assert done.code == 0, done.err
    done = launching.call(
        'distill',
        f'--teacher={teacher}',
        '--student=wrn16_1',
        '--num_steps=2',
        '--batch_size=4',
        '--generator_width=4',
        f'--workdir={tmp_path}/student',
    )
    assert done.code == 0, done.err
