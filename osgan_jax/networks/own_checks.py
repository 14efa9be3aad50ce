"""Whether networks of one's own can be trained: each thing that is missing is an error of its own.

Modules are traced, not run: that takes no time that counts, and no memory.
"""

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.core import image_sizes
from osgan_jax.io import messages, own_code
from osgan_jax.networks.given import LATENTS, Networks
from osgan_jax.networks.registry import NetworkOptions, Pair

Array = jax.Array
PyTree = Any

ROLES = ('generator', 'discriminator')

_LABELS = ('labels', 'label', 'y', 'c', 'classes', 'class_labels')
_TRAIN = {'train': True, 'training': True, 'is_training': True}
_TRAIN |= {'deterministic': False, 'use_running_average': False}
_STYLED = ('mapping', 'styles', 'draw_styles', 'synthesis', 'num_styles')
# Rows that variables are made with, and that outputs are looked at: a size that a module has of
# its own shows.
_ROWS, _OTHER_ROWS = 2, 3
_CORE = 'docs/guides/models.md shows a training loop of your own'


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What a module's `__call__` takes beside its input.

    Attributes:
      labels: Name of the labels; None if it takes none.
      train: Name of what tells whether it trains; None if it takes none.
      when_training: The value of that in training.
    """

    labels: str | None = None
    train: str | None = None
    when_training: bool = True

    def bind(
        self, inputs: Array, labels: Array | None, train: bool
    ) -> tuple[tuple[Array], dict[str, Any]]:
        """Positional and keyword arguments of a call."""
        named: dict[str, Any] = {}
        if self.labels is not None and labels is not None:
            named[self.labels] = labels
        if self.train is not None:
            named[self.train] = self.when_training if train else not self.when_training
        return (inputs,), named


def check_modules(name: str, networks: Networks) -> None:
    """Raises ValueError unless both networks are linen modules."""
    for role in ROLES:
        module = getattr(networks, role)
        if isinstance(module, nn.Module):
            continue
        wanted = f'{name}: the {role} must be a flax linen module'
        if isinstance(module, tuple | list):
            raise ValueError(
                f'{wanted}, got {len(module)} of them: the trainer takes one; '
                'osgan_jax.one_stage_grads takes several discriminators (docs/guides/models.md)'
            )
        if isinstance(module, type) and issubclass(module, nn.Module):
            raise ValueError(
                f'{wanted}, got the class {module.__name__}: make an instance, '
                f'{module.__name__}(...)'
            )
        libraries = {each.__module__.partition('.')[0] for each in type(module).__mro__}
        if 'flax' in libraries:
            cls = type(module).__name__
            raise ValueError(
                f'{wanted}, got the flax.nnx module {cls}: give '
                f'flax.nnx.bridge.to_linen({cls}, ...), with the arguments of {cls} but for rngs'
            )
        known = {'equinox', 'haiku', 'torch', 'keras'} & libraries
        raise ValueError(
            f'{wanted}, got {"a module of " + min(known) if known else "a value"} of type '
            f'{type(module).__name__}; for other libraries, {_CORE}'
        )


def check_declarations(name: str, networks: Networks) -> None:
    """Raises ValueError for a size or distribution of z that there is not."""
    size = networks.latent_dim
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise ValueError(f'{name}: latent_dim={size!r}: expected a whole number of at least 1')
    for role in ROLES:
        blocks = getattr(networks, f'{role}_blocks')
        if isinstance(blocks, str) or not all(isinstance(each, str) for each in blocks):
            raise ValueError(
                f"{name}: {role}_blocks={blocks!r}: expected the submodules' names, in order"
            )


def latents(name: str, asked: Any) -> Callable[..., Array] | None:
    """How z is drawn, `(key, shape) -> z`; None for standard normal."""
    if asked == 'normal':
        return None
    if asked == 'uniform':
        return lambda key, shape: jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
    if not callable(asked):
        raise ValueError(
            f'{name}: latents={asked!r}: expected one of {", ".join(LATENTS)}, or a function '
            '(key, shape) -> z'
        )
    shape = (_OTHER_ROWS, 5)
    what = f'{name}: latents(key, {shape})'
    z = own_code.call(what, jax.eval_shape, lambda key: asked(key, shape), jax.random.key(0))
    if getattr(z, 'shape', None) != shape or not jnp.issubdtype(z.dtype, jnp.floating):
        raise ValueError(f'{what} returned {_describe(z)}: expected floats of that shape')
    return asked


def arguments(role: str, module: nn.Module, conditional: bool) -> Arguments:
    """What a module's `__call__` takes, by its signature.

    Raises:
      ValueError: if it takes no input, needs something that the trainer has not, or takes no labels
        where there are some, or needs them where there are none.
    """
    # flax.nnx.bridge.to_linen takes anything and hands it on.
    cls = getattr(module, 'nnx_class', type(module))
    what = f'the {role} {cls.__name__}'
    if '__call__' not in dir(cls):
        raise ValueError(f'{what} has no __call__')
    signature = inspect.signature(cls.__call__)
    shown = f'{what} takes {signature}'
    first, *others = [*signature.parameters.values()][1:] or [None]
    inputs = 'z' if role == 'generator' else 'images'
    if first is None or first.kind in (first.KEYWORD_ONLY, first.VAR_KEYWORD):
        raise ValueError(f'{shown}: its first argument must be {inputs}')
    by_name = {each.name: each for each in others}
    labels = next((each for each in _LABELS if each in by_name), None)
    train = next((each for each in _TRAIN if each in by_name), None)
    for each in others:
        named = each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        if named and each.default is each.empty and each.name not in (labels, train):
            raise ValueError(
                f'{shown}: the trainer does not know {each.name}; beside {inputs} it gives labels '
                f'and train ({", ".join(_TRAIN)}): give {each.name} a default'
            )
        if each.kind == each.POSITIONAL_ONLY:
            raise ValueError(f'{shown}: make {each.name} an argument that has a name')
    if conditional and labels is None:
        raise ValueError(
            f'{shown}, but no labels, and the run is conditional: name an argument labels, or give '
            '--noconditional'
        )
    required = labels is not None and by_name[labels].default is inspect.Parameter.empty
    if required and not conditional:
        raise ValueError(
            f'{shown} and needs {labels}, but the run has no labels: give --conditional and a '
            f'dataset with labels, or {labels} the default None'
        )
    return Arguments(labels, train, _TRAIN.get(train, True))


def check_pair(
    name: str, networks: Networks, pair: Pair, options: NetworkOptions
) -> tuple[bool, bool]:
    """Checks what both modules give, by tracing them.

    Args:
      name: of the networks.
      networks: what they declare.
      pair: the modules, as `own.OwnModule`.
      options: completed.

    Returns:
      Whether the generator and the discriminator draw random numbers while they train.

    Raises:
      ValueError: naming what is wrong.
    """
    image = (*image_sizes.sides(options.image_size), options.channels)
    shapes = {'generator': (options.latent_dim,), 'discriminator': image}
    draws = []
    for role, module in zip(ROLES, pair, strict=True):
        what = f'{name}: the {role} {type(module.module).__name__}'
        look = _Look(what, role, module.clone(axis_name=None), shapes[role], options.num_classes)
        variables = look.variables()
        for train in (True, False):
            output, changed = look.output(variables, train)
            (_check_images if role == 'generator' else _check_logits)(what, output, image)
            _check_state(what, variables, changed)
        draws.append(look.draws(variables))
        _check_blocks(what, getattr(networks, f'{role}_blocks'), variables['params'])
        if role == 'generator' and networks.has_styles:
            _check_styles(what, module, variables)
    return tuple(draws)


@dataclasses.dataclass(frozen=True)
class _Look:
    """A module and the shapes of what it is given.

    Attributes:
      what: the module, for messages.
      role: one of `ROLES`.
      module: the module, an `own.OwnModule` on one device.
      shape: of its input, without rows.
      num_classes: labels, 0 for none.
    """

    what: str
    role: str
    module: Any
    shape: tuple[int, ...]
    num_classes: int

    def _given(self, rows: int) -> tuple[str, Any, Any]:
        inputs = jax.ShapeDtypeStruct((rows, *self.shape), jnp.float32)
        labels = jax.ShapeDtypeStruct((rows,), jnp.int32) if self.num_classes else None
        name = 'z' if self.role == 'generator' else 'images'
        labelled = f' and labels [{rows}]' if self.num_classes else ''
        return f'(given {name} {list(inputs.shape)}{labelled})', inputs, labels

    def variables(self) -> PyTree:
        """The shapes of its variables; there are parameters, all of them floats."""
        said, inputs, labels = self._given(_ROWS)
        variables = own_code.call(
            f'{self.what} {said}',
            jax.eval_shape,
            lambda key, *given: self.module.init(key, *given, train=False),
            jax.random.key(0),
            inputs,
            labels,
        )
        if not jax.tree.leaves(variables.get('params', {})):
            raise ValueError(f'{self.what} has no parameters: there is nothing to train')
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables['params']):
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                raise ValueError(
                    f'{self.what}: the parameter {_name(path)} is {leaf.dtype}, which no gradient '
                    'moves: keep it in another collection than params'
                )
        return variables

    def output(self, variables: PyTree, train: bool, rngs: bool = True) -> tuple[Any, PyTree]:
        """The shapes of its output, and of its collections afterwards."""
        said, inputs, labels = self._given(_OTHER_ROWS)
        return own_code.call(
            f'{self.what} {said}', self._traced, variables, inputs, labels, train, rngs
        )

    def draws(self, variables: PyTree) -> bool:
        """Whether it needs random numbers in training; what nnx has cannot be told."""
        if hasattr(self.module, 'nnx_class'):
            return True
        _, inputs, labels = self._given(_OTHER_ROWS)
        try:
            self._traced(variables, inputs, labels, True, rngs=False)
        except Exception:  # with them it worked
            return True
        return False

    def _traced(self, variables, inputs, labels, train, rngs):
        def run(variables, key, inputs, labels):
            streams = self.module.streams(key) if rngs else {}
            return self.module.run(variables, inputs, labels, train, rngs=streams)

        return jax.eval_shape(run, variables, jax.random.key(0), inputs, labels)


def _check_images(what: str, output: Any, image: Sequence[int]) -> None:
    """Raises ValueError unless an output is images of the dataset's shape."""
    expected = [_OTHER_ROWS, *image]
    wanted = f'images [N, {", ".join(map(str, image))}] in [-1, 1]'
    if not hasattr(output, 'shape'):
        raise ValueError(f'{what} returns {_describe(output)}: return {wanted} alone')
    shape, (height, width, channels) = list(output.shape), image
    if shape != expected:
        hint = ''
        if shape == [_OTHER_ROWS, channels, height, width]:
            hint = '; channels come last here'
        elif shape[:1] == expected[:1] and output.size == _OTHER_ROWS * height * width * channels:
            hint = f'; reshape them with x.reshape(-1, {height}, {width}, {channels})'
        elif shape[:1] != expected[:1]:
            hint = f' where N is {_OTHER_ROWS}; is a batch size written in it?'
        raise ValueError(f'{what} returns {shape}, but must return {wanted}{hint}')
    if not jnp.issubdtype(output.dtype, jnp.floating):
        raise ValueError(f'{what} returns {output.dtype}, but must return floats: {wanted}')


def _check_logits(what: str, output: Any, image: Sequence[int]) -> None:
    """Raises ValueError unless an output is one logit a sample."""
    del image
    if not hasattr(output, 'shape'):
        raise ValueError(
            f'{what} returns {_describe(output)}: return the logits [N] alone; what takes features '
            'or several logits is shared_forward_grads (docs/guides/models.md)'
        )
    shape = list(output.shape)
    if not (shape[:1] == [_OTHER_ROWS] and output.size == _OTHER_ROWS):
        several = shape[:1] == [_OTHER_ROWS] and output.size > _OTHER_ROWS
        hint = ''
        if several:
            hint = (
                ': average them or add a last layer; what takes several logits a sample is '
                'shared_forward_grads (docs/guides/models.md)'
            )
        raise ValueError(
            f'{what} returns {shape} for {_OTHER_ROWS} images, but must return one logit a sample, '
            f'[N] or [N, 1]{hint}'
        )
    if not jnp.issubdtype(output.dtype, jnp.floating):
        raise ValueError(
            f'{what} returns {output.dtype}, but must return float logits, before any sigmoid'
        )


def _check_state(what: str, variables: PyTree, changed: PyTree) -> None:
    """Raises ValueError unless collections keep their shapes."""
    before, after = (
        {
            _name(path): (leaf.shape, leaf.dtype)
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        for tree in ({k: v for k, v in variables.items() if k != 'params'}, changed)
    )
    for name in [*before, *after]:
        if before.get(name) != after.get(name):
            raise ValueError(
                f'{what}: the variable {name} changes its shape, dtype or place when the module is '
                'applied, and a checkpoint cannot hold it: make it in init as it is later'
            )


def _check_blocks(what: str, blocks: Sequence[str], params: PyTree) -> None:
    """Raises ValueError for a block that is not a submodule with parameters."""
    for block in blocks:
        if block not in params:
            close = difflib.get_close_matches(block, params, 3) or [*params]
            raise ValueError(
                f'{what} has no submodule {block}; it has {messages.shorten(sorted(close))}'
            )


def _check_styles(what: str, module: Any, variables: PyTree) -> None:
    """Raises ValueError for a generator without what `has_styles` declares."""
    missing = [name for name in _STYLED if not hasattr(module, name)]
    if 'w_average' not in variables.get('batch_stats', {}):
        missing.append('the variable w_average in batch_stats')
    if missing:
        raise ValueError(
            f'{what} declares has_styles, but has no {", no ".join(missing)}: leave has_styles '
            'out, or see osgan_jax.networks.stylegan2.Generator'
        )


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator='/')


def _describe(value: Any) -> str:
    if hasattr(value, 'shape'):
        return f'{value.dtype} {list(value.shape)}'
    if isinstance(value, tuple | list):
        return f'{len(value)} values'
    return 'None' if value is None else f'a value of type {type(value).__name__}'
