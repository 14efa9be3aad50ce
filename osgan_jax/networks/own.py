"""Networks of one's own as specifications: of a reference, or of what a program gave.

`OwnModule` gives any linen module the interface that `NetworkSpec` describes; `own_checks` looks
at whether a pair can be trained, before anything is.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.io import own_code
from osgan_jax.networks import given, own_checks
from osgan_jax.networks.given import Networks
from osgan_jax.networks.registry import Blocks, NetworkOptions, NetworkSpec, Pair

Array = jax.Array
PyTree = Any

_NORM = 'own'
_WIDTH, _LATENT_DIM = 64, 100
# Streams of random numbers that modules ask for by name; linen gives any other the first.
_STREAMS = ('params', 'dropout', 'default', 'noise')
_FIELD = 'network'


@dataclasses.dataclass(frozen=True, eq=False)
class OwnModule:
    """A linen module of anybody's with the interface of this library's generators.

    It has the attributes of the module, too.

    Attributes:
      module: The module.
      takes: What its `__call__` takes.
      draws: Whether it draws random numbers while it trains, as dropout does.
      taps: Names of the submodules whose outputs are its features, in order.
    """

    module: nn.Module
    takes: 'own_checks.Arguments'
    draws: bool = False
    taps: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        """An attribute of the module."""
        if name.startswith('__') or name == 'module':
            raise AttributeError(name)
        return getattr(self.module, name)

    def clone(self, **changes: Any) -> 'OwnModule':
        """A copy of the module with other attributes, of those that it has."""
        known = {name: value for name, value in changes.items() if _has_field(self.module, name)}
        return dataclasses.replace(self, module=self.module.clone(**known))

    @staticmethod
    def streams(key: Array) -> dict[str, Array]:
        """Keys of random numbers by the names that modules ask for them."""
        return {name: jax.random.fold_in(key, i) for i, name in enumerate(_STREAMS)}

    def init(self, key: Array, inputs: Array, labels: Array | None, *, train: bool) -> PyTree:
        """Fresh variables: 'params' and all other collections."""
        positional, named = self.takes.bind(inputs, labels, train)
        return nn.meta.unbox(self.module.init(self.streams(key), *positional, **named))

    def apply(
        self,
        variables: Mapping[str, PyTree],
        inputs: Any,
        labels: Any = None,
        *more: Any,
        train: bool | None = None,
        method: str | None = None,
        mutable: Any = False,
        rngs: Mapping[str, Array] | None = None,
        **options: Any,
    ) -> Any:
        """As `linen.Module.apply`; where `batch_stats` are mutable, so are all its collections.

        Images and logits are float32, logits of shape `[N]`. Without a key, what is random is the
        same in each call.
        """
        key = next(iter((rngs or {}).values()), None)
        options['rngs'] = self.streams(jax.random.key(0) if key is None else key)
        if method is not None:
            told = {} if train is None else {'train': train}
            given = [each for each in (inputs, labels, *more) if each is not None]
            options |= {'method': method, 'mutable': mutable, **told}
            return self.module.apply(variables, *given, **options)
        asked = [name for name in mutable or () if name != 'batch_stats']
        output, changed = self.run(variables, inputs, labels, bool(train), asked, **options)
        output = _as_float32(output)
        return (output, changed) if mutable else output

    def run(
        self,
        variables: Mapping[str, PyTree],
        inputs: Array,
        labels: Array | None,
        train: bool,
        asked: Sequence[str] = (),
        **options: Any,
    ) -> tuple[Any, PyTree]:
        """The module's output as it is, and its collections afterwards, and those asked for."""
        positional, named = self.takes.bind(inputs, labels, train)
        # A module that is not told whether it trains may write while it does not.
        mutable = [*(name for name in variables if name != 'params'), *asked]
        output, changed = self.module.apply(
            variables, *positional, mutable=mutable, **named, **options
        )
        return output, nn.meta.unbox(changed)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class OwnSpec(NetworkSpec):
    """The specification of networks of one's own, of any image size.

    Attributes:
      make: Gives the networks for completed options.
      is_fixed: Whether the modules are made already, whatever the options.
    """

    make: Callable[[NetworkOptions], Networks]
    is_fixed: bool = False

    def complete(self, options: NetworkOptions) -> NetworkOptions:
        """As `NetworkSpec.complete`; modules that are made already cannot be made wider."""
        wider = options.width is not None or options.channel_multiplier != 1
        if self.is_fixed and wider:
            name = 'width' if options.width is not None else 'channel_multiplier'
            raise ValueError(
                f'{name}={getattr(options, name)}: {self.name} are modules that are made already; '
                'leave it out, or give a function of the facts instead: --network=module:function'
            )
        return super().complete(options)

    def settle(self, options: NetworkOptions) -> NetworkSpec:
        """The specification with what the networks of these options declare."""
        networks = self._networks(self.complete(options))
        declared, asked = networks.latent_dim, options.latent_dim
        if None not in (declared, asked) and declared != asked:
            raise ValueError(
                f'latent_dim={asked}: {self.name} declares latent_dim={declared}; leave it out'
            )
        return dataclasses.replace(
            self,
            latent_dim=lambda image_size: declared or _LATENT_DIM,
            latents=own_checks.latents(self.name, networks.latents),
            has_styles=networks.has_styles,
            has_blocks=bool(networks.generator_blocks and networks.discriminator_blocks),
            blocks=_blocks(networks),
        )

    def _networks(self, options: NetworkOptions) -> Networks:
        """The networks of completed options."""
        networks = self.make(options)
        own_checks.check_declarations(self.name, networks)
        return networks

    def make_pair(self, options: NetworkOptions) -> Pair:
        """The two modules, checked; `build` of this specification."""
        networks = self._networks(options)
        own_checks.check_modules(self.name, networks)
        pair = Pair(
            *(
                _adapt(getattr(networks, role), role, options, getattr(networks, f'{role}_blocks'))
                for role in own_checks.ROLES
            )
        )
        draws = own_checks.check_pair(self.name, networks, pair, options)
        return Pair(
            *(dataclasses.replace(one, draws=each) for one, each in zip(pair, draws, strict=True))
        )


def spec_of(name: str) -> NetworkSpec:
    """The specification of own networks by their name in a configuration.

    Raises:
      ValueError: for a reference that cannot be loaded, or the name alone of what a program gave.
    """
    if own_code.is_lost(name):
        raise ValueError(
            f'{_FIELD}={name}: these networks were given by a program, not by a name: give them '
            'again, from Python as networks=osgan_jax.gan.Networks(generator, discriminator), or '
            'as --network=module:function, a function that returns them'
        )
    is_fixed = isinstance(name, own_code.Given)
    if is_fixed:
        make = lambda options: name.value  # noqa: E731
    else:
        value = own_code.load(_FIELD, name)
        is_fixed = isinstance(value, Networks)
        make = lambda options: _made(name, value, options)  # noqa: E731
    spec = OwnSpec(
        name=str(name),
        build=lambda options: None,
        image_sizes=(),
        oblong=True,
        width=_WIDTH,
        norms=(_NORM,),
        latent_dim=lambda image_size: _LATENT_DIM,
        make=make,
        is_fixed=is_fixed,
    )
    return dataclasses.replace(spec, build=spec.make_pair)


def _made(name: str, value: Any, options: NetworkOptions) -> Networks:
    """The networks that a function returns, or a value that a module holds."""
    if isinstance(value, Networks):
        return value
    what = f'{_FIELD}={name}: {name.rpartition(":")[2]}'
    if not callable(value) or isinstance(value, nn.Module):
        raise ValueError(
            f'{what} is a value of type {type(value).__name__}: expected a function of the facts '
            'that returns osgan_jax.gan.Networks(generator, discriminator)'
        )
    arguments = (options,)
    try:
        parameters = inspect.signature(value).parameters
        if not parameters:
            arguments = ()
        inspect.signature(value).bind(*arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'{what} takes {inspect.signature(value)}, but must take one argument: the facts '
            '(image_size, channels, num_classes, latent_dim, width, ...)'
        ) from error
    return given.as_networks(f'{what} returned', own_code.call(what, value, *arguments))


def _adapt(module: nn.Module, role: str, options: NetworkOptions, taps: Any) -> OwnModule:
    """A module with this library's interface, of the options' dtype and devices."""
    changes = {}
    if options.axis_name and _has_field(module, 'axis_name') and module.axis_name is None:
        changes['axis_name'] = options.axis_name
    if options.dtype == jnp.bfloat16 and _has_field(module, 'dtype'):
        changes['dtype'] = options.dtype
    takes = own_checks.arguments(role, module, bool(options.num_classes))
    adapted = OwnModule(module, takes, taps=tuple(taps))
    return adapted.clone(**changes)


def _blocks(networks: Networks) -> Callable[[NetworkOptions], Blocks] | None:
    """The blocks that are declared, a submodule each; None where there are none."""
    names = (networks.generator_blocks, networks.discriminator_blocks)
    blocks = Blocks(*(tuple((name,) for name in each) for each in names))
    return (lambda options: blocks) if any(blocks) else None


def _has_field(module: nn.Module, name: str) -> bool:
    return any(each.name == name for each in dataclasses.fields(module))


def _as_float32(output: Any) -> Array:
    """Images as they are, logits `[N, 1]` as `[N]`, in float32."""
    output = jnp.asarray(output, jnp.float32)
    one_a_sample = output.ndim in (2, 4) and output.size == output.shape[0]
    return output.reshape(-1) if one_a_sample else output
