"""Classifiers that PyTorch trained, as variables of `osgan_jax.networks.classifiers`.

The names are those of state dicts as they are published:

* ResNets: `conv1`, `bn1`, `layer1.0.conv1`, `layer1.0.bn1` and so on; where a shortcut changes
  shape, `layer2.0.shortcut.0` and `.1` (kuangliu's pytorch-cifar and what came of it, in the
  repositories of DFAD among others) or `layer2.0.downsample.0` and `.1` (torchvision); `linear` or
  `fc`. A stem of 3x3 is the usual one for CIFAR, one of 7x7 torchvision's for large images.
* wide ResNets, of ZSKT among others: `conv1`, `block1.layer.0.bn1`, `block1.layer.0.conv1`,
  `block1.layer.0.convShortcut` and so on, `bn1`, `fc`.
* LeNet-5, of DAFL among others: `conv1`, `conv2`, `conv3`, `fc1`, `fc2`.

Which network it is, and how many classes it has, is found in the tensors. What they cannot tell are
layers without weights: a network that pools between a 3x3 stem and its blocks has the same tensors.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.io import messages, published
from osgan_jax.networks import classifier_registry, classifiers

_PREFIX = 'module.'  # of networks that were trained in parallel
_COUNTER = '.num_batches_tracked'  # of BatchNorm; nothing reads it
_LEAVES = {
    'kernel': 'weight',
    'scale': 'weight',
    'bias': 'bias',
    'mean': 'running_mean',
    'var': 'running_var',
}
_RESNET_BLOCK = re.compile(r'layer(\d{1,3})\.(\d{1,3})\.conv1\.weight')
_WIDE_BLOCK = re.compile(r'block(\d{1,3})\.layer\.(\d{1,3})\.conv1\.weight')
_MOST_CLASSES = 1_000_000


class Found(NamedTuple):
    """A classifier that was found in tensors.

    Attributes:
      name: in `osgan_jax.networks.classifier_registry`.
      num_classes: classes.
      channels: of the images.
      variables: 'params' and 'batch_stats', float32 on the host.
    """

    name: str
    num_classes: int
    channels: int
    variables: dict[str, Any]


def find(tensors: dict[str, np.ndarray]) -> Found:
    """Makes variables of a classifier's tensors.

    Args:
      tensors: from `osgan_jax.io.weights.read`.

    Raises:
      ValueError: they are not those of a known network; the message names what is missing, unknown
        or of another shape.
    """
    if all(name.startswith(_PREFIX) for name in tensors):
        tensors = {name.removeprefix(_PREFIX): array for name, array in tensors.items()}
    tensors = {name: array for name, array in tensors.items() if not name.endswith(_COUNTER)}
    name, head = _recognise(tensors), _head(tensors)
    channels = _shape(tensors, 'conv1.weight', 4)[1]
    num_classes = _shape(tensors, f'{head}.weight', 2)[0]
    if not 2 <= num_classes <= _MOST_CLASSES:
        raise ValueError(
            f"'{head}.weight' is of {num_classes} classes, but a classifier has 2 or more"
        )
    expected = tensor_names(name, num_classes, channels, head=head, shortcut=_shortcut(tensors))
    whose = f'the weights of a {name} with {num_classes} classes'
    return Found(name, num_classes, channels, published.convert(tensors, expected, whose))


def tensor_names(
    name: str, num_classes: int, channels: int, *, head: str = 'fc', shortcut: str = 'downsample'
) -> dict[str, published.Tensor]:
    """The tensors of a classifier by PyTorch's names.

    Args:
      name: of the classifier.
      num_classes: classes.
      channels: of the images, 1 or 3.
      head: what the last layer of a ResNet is called, 'linear' or 'fc'.
      shortcut: what its shortcuts are called, 'shortcut' or 'downsample'.
    """
    spec = classifier_registry.get(name)
    size = spec.image_size or 32
    module = classifiers.build(name, image_size=size, channels=channels, num_classes=num_classes)
    images = jnp.zeros((1, size, size, channels))
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), images, train=False))
    theirs = dict(zip(*_pair(spec, head, shortcut), strict=True))
    found = {}
    for path, leaf in flax.traverse_util.flatten_dict(variables).items():
        layer = theirs[path[-2]]
        found[f'{layer}.{_LEAVES[path[-1]]}'] = published.from_torch(path, leaf.shape)
    return found


def _pair(
    spec: classifier_registry.ClassifierSpec, head: str, shortcut: str
) -> tuple[list[str], list[str]]:
    """Names of layers here, numbered by kind in the order in which they are made, and there."""
    ours, theirs, counts = [], [], {'Conv': 0, 'BatchNorm': 0, 'Dense': 0}
    walk = {
        'ResNet': lambda: _resnet(spec.options, head, shortcut),
        'WideResNet': lambda: _wide(spec.options),
        'LeNet': _lenet,
    }[spec.family]
    for kind, layer in walk():
        ours.append(f'{kind}_{counts[kind]}')
        theirs.append(layer)
        counts[kind] += 1
    return ours, theirs


def _resnet(options: Any, head: str, shortcut: str) -> Iterator[tuple[str, str]]:
    yield from (('Conv', 'conv1'), ('BatchNorm', 'bn1'))
    bottleneck = options.get('bottleneck', False)
    for stage, blocks in enumerate(options['blocks'], 1):
        for block in range(blocks):
            within = f'layer{stage}.{block}'
            if not block and (stage > 1 or bottleneck):
                yield 'Conv', f'{within}.{shortcut}.0'
                yield 'BatchNorm', f'{within}.{shortcut}.1'
            for number in range(1, 4 if bottleneck else 3):
                yield 'Conv', f'{within}.conv{number}'
                yield 'BatchNorm', f'{within}.bn{number}'
    yield 'Dense', head


def _wide(options: Any) -> Iterator[tuple[str, str]]:
    yield 'Conv', 'conv1'
    for stage in range(1, 4):
        for block in range((options['depth'] - 4) // 6):
            within = f'block{stage}.layer.{block}'
            yield 'BatchNorm', f'{within}.bn1'
            if not block and (stage > 1 or options['widening'] > 1):
                yield 'Conv', f'{within}.convShortcut'
            yield 'Conv', f'{within}.conv1'
            yield 'BatchNorm', f'{within}.bn2'
            yield 'Conv', f'{within}.conv2'
    yield from (('BatchNorm', 'bn1'), ('Dense', 'fc'))


def _lenet() -> Iterator[tuple[str, str]]:
    yield from (('Conv', f'conv{number}') for number in (1, 2, 3))
    yield from (('Dense', f'fc{number}') for number in (1, 2))


def _recognise(tensors: dict[str, np.ndarray]) -> str:
    """The name of the network that tensors are of, by how many blocks and channels there are."""
    if stages := _blocks(tensors, _RESNET_BLOCK):
        large = _shape(tensors, 'conv1.weight', 4)[2] > 3
        bottleneck = 'layer1.0.conv3.weight' in tensors
        options = {'blocks': stages, 'bottleneck': bottleneck, 'large': large}
        kind = f'{"bottleneck" if bottleneck else "basic"} blocks {list(stages)}'
        return _known('ResNet', options, f'a ResNet of {kind}, with a {_stem(large)} stem')
    if stages := _blocks(tensors, _WIDE_BLOCK):
        depth, width = 6 * stages[0] + 4, _shape(tensors, f'{_head(tensors)}.weight', 2)[1]
        options = {'depth': depth, 'widening': width / 64}
        return _known('WideResNet', options, f'a wide ResNet {depth}-{width / 64:g}')
    if {'conv3.weight', 'fc2.weight'} <= tensors.keys():
        sizes = tuple(
            len(tensors[f'{n}.weight'])
            for n in ('conv1', 'conv2', 'conv3', 'fc1')
            if f'{n}.weight' in tensors
        )
        return _known('LeNet', {'features': sizes}, f'a LeNet-5 of {list(sizes)} channels')
    some = messages.shorten([messages.quote(name) for name in tensors]) or 'no tensors'
    raise ValueError(
        f'no classifier that is known: expected names such as layer1.0.conv1.weight (ResNet), '
        f'block1.layer.0.conv1.weight (wide ResNet) or conv3.weight and fc2.weight (LeNet-5), '
        f'found {some}'
    )


def _known(family: str, options: dict[str, Any], what: str) -> str:
    for name in classifier_registry.names():
        spec = classifier_registry.get(name)
        own = {'bottleneck': False, 'large': False} if family == 'ResNet' else {}
        if spec.family == family and {**own, **spec.options} == options:
            return name
    names = [n for n in classifier_registry.names() if classifier_registry.get(n).family == family]
    raise ValueError(f'{what} is not among the networks here, which are {", ".join(names)}')


def _stem(large: bool) -> str:
    return '7x7' if large else '3x3'


def _blocks(tensors: dict[str, np.ndarray], pattern: re.Pattern) -> tuple[int, ...]:
    """Numbers of blocks in each stage, 1 and so on; () if there are none."""
    counts: dict[int, int] = {}
    for match in filter(None, map(pattern.fullmatch, tensors)):
        stage = int(match[1])
        counts[stage] = max(counts.get(stage, 0), int(match[2]) + 1)
    return tuple(counts.get(stage, 0) for stage in range(1, max(counts, default=0) + 1))


def _head(tensors: dict[str, np.ndarray]) -> str:
    for name in ('linear', 'fc', 'fc2'):
        if f'{name}.weight' in tensors:
            return name
    raise ValueError(
        "the last layer, 'fc.weight' or 'linear.weight', is missing: give the weights "
        'of a whole classifier'
    )


def _shortcut(tensors: dict[str, np.ndarray]) -> str:
    return 'shortcut' if any('.shortcut.' in name for name in tensors) else 'downsample'


def _shape(tensors: dict[str, np.ndarray], name: str, rank: int) -> tuple[int, ...]:
    if name not in tensors:
        raise ValueError(f'{messages.quote(name)} is missing')
    shape = np.shape(tensors[name])
    if len(shape) != rank or 0 in shape:
        raise ValueError(
            f'{messages.quote(name)} is {list(shape)}, but has {rank} dimensions in a classifier'
        )
    return shape
