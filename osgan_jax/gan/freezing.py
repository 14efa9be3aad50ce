"""Blocks of networks that a run leaves as they are.

FreezeD (Mo et al. 2020, https://arxiv.org/abs/2002.10964) goes on from trained networks with the
lowest blocks of D frozen, which needs fewer images of the new kind. A network declares its blocks
(`osgan_jax.networks.NetworkSpec.blocks`); they are frozen by a stopped gradient on their
parameters, so that no pass computes their weight gradients, and what an update may still do to
them (moments of an optimiser, a bound on weights, Lookahead) is left out. Gradients at the images
go through them unchanged.
"""

import dataclasses
import fnmatch
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from osgan_jax import networks

PyTree = Any

GENERATOR, DISCRIMINATOR = 'generator', 'discriminator'
_RANGE = re.compile(r'(generator|discriminator):(\d{1,4})(?:-(\d{1,4}))?')


@dataclasses.dataclass(frozen=True)
class Frozen:
    """The frozen parameters of both networks, as patterns of their paths.

    Attributes:
      generator: of G; see `osgan_jax.networks.Blocks`.
      discriminator: of D.
    """

    generator: tuple[str, ...] = ()
    discriminator: tuple[str, ...] = ()

    def map(
        self, whose: str, function: Callable[..., Any], tree: PyTree, *others: PyTree
    ) -> PyTree:
        """A pytree of a network's parameters with a function of each frozen leaf in its place.

        Args:
          whose: GENERATOR or DISCRIMINATOR.
          function: of a leaf of each of the trees.
          tree: whose other leaves stay.
          *others: pytrees of the same structure.
        """
        patterns = [each.split('/') for each in getattr(self, whose)]
        if not patterns:
            return tree

        def apply(path: tuple[Any, ...], leaf: Any, *rest: Any) -> Any:
            return function(leaf, *rest) if _matches(path, patterns) else leaf

        return jax.tree_util.tree_map_with_path(apply, tree, *others)

    def stop(self, whose: str, params: PyTree) -> PyTree:
        """Parameters, of which the frozen ones have no gradient."""
        return self.map(whose, jax.lax.stop_gradient, params)

    def zero(self, whose: str, grads: PyTree) -> PyTree:
        """Gradients, zero of the frozen parameters."""
        return self.map(whose, jnp.zeros_like, grads)

    def hold(self, state: Any, before: Any) -> Any:
        """A training state, whose frozen parameters, also slow ones, are those from before."""
        if not (self.generator or self.discriminator):
            return state
        whose = {'params_g': GENERATOR, 'params_d': DISCRIMINATOR}

        def kept(name: str, new: PyTree, old: PyTree) -> PyTree:
            return self.map(whose[name], lambda _, leaf: leaf, new, old)

        both = {name: kept(name, getattr(state, name), getattr(before, name)) for name in whose}
        if state.slow is not None:
            slow = {name: kept(name, state.slow[name], before.slow[name]) for name in whose}
            both['slow'] = {**state.slow, **slow}
        return state.replace(**both)

    def average(self, averaged: PyTree, old: PyTree, params: PyTree) -> PyTree:
        """An average of G's parameters, to the bit the old one where that equals what is frozen."""
        keep = lambda new, old, own: jnp.where(old == own, old, new)  # noqa: E731
        return self.map(GENERATOR, keep, averaged, old, params)

    def count(self, whose: str, params: PyTree) -> int:
        """The number of frozen parameters of a network."""
        sizes = []
        self.map(whose, lambda leaf: sizes.append(leaf.size), params)
        return sum(sizes)


def build(
    asked: Sequence[str], spec: networks.NetworkSpec, options: networks.NetworkOptions
) -> Frozen:
    """The parameters that `--freeze` names.

    Args:
      asked: ranges such as 'discriminator:0-2' or 'generator:0'.
      spec: the network.
      options: of the network; maybe not complete.

    Raises:
      ValueError: for anything else, blocks that the network does not have, or all of its blocks.
    """
    found: dict[str, set[int]] = {}
    for text in asked:
        match = _RANGE.fullmatch(text)
        if not match:
            raise ValueError(
                f'freeze={text!r}: expected discriminator or generator with the numbers of their '
                'lowest blocks, such as discriminator:0-2'
            )
        whose, first, last = match[1], int(match[2]), int(match[3] or match[2])
        known = spec.blocks(spec.complete(options)) if spec.blocks else None
        if not getattr(known, whose, ()):
            raise ValueError(
                f'freeze={text}: {spec.name} does not declare its blocks (NetworkSpec.blocks, or '
                f'{whose}_blocks of Networks), so that none of them can be named'
            )
        count = len(getattr(known, whose))
        if not first <= last < count:
            raise ValueError(
                f'freeze={text}: the {whose} of {spec.name} has {count} blocks at this size, 0 to '
                f'{count - 1}'
            )
        found.setdefault(whose, set()).update(range(first, last + 1))
        if len(found[whose]) == count:
            raise ValueError(
                f'freeze={text}: that is all of the {whose}; leave at least one of its {count} '
                'blocks to be trained'
            )
    if not found:
        return Frozen()
    blocks = spec.blocks(spec.complete(options))
    return Frozen(
        **{
            whose: tuple(
                name for index in sorted(numbers) for name in getattr(blocks, whose)[index]
            )
            for whose, numbers in found.items()
        }
    )


def describe(asked: Sequence[str], frozen: Frozen, params: dict[str, PyTree]) -> str | None:
    """Which blocks are frozen, and how many parameters, for a person; None for none.

    Args:
      asked: see `build`.
      frozen: what it made of it.
      params: of both networks, by name.
    """
    if not asked:
        return None
    shares = []
    for whose, tree in params.items():
        if count := frozen.count(whose, tree):
            total = sum(leaf.size for leaf in jax.tree.leaves(tree))
            shares.append(f'{count:,} of the {total:,} parameters of the {whose}')
    return f'{", ".join(asked)}: {", ".join(shares)} stay as they are'


def _matches(path: tuple[Any, ...], patterns: list[list[str]]) -> bool:
    names = jax.tree_util.keystr(path, simple=True, separator='/').split('/')
    return any(
        len(names) >= len(pattern) and all(map(fnmatch.fnmatchcase, names, pattern))
        for pattern in patterns
    )
