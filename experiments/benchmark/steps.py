"""Times of single training steps, several schemes side by side."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.benchmark import turns
from experiments.benchmark.config import PENALTIES
from experiments.benchmark.turns import Runner, StepTiming
from osgan_jax.core import image_sizes
from osgan_jax.core.collectives import collectives_over
from osgan_jax.engine import messages
from osgan_jax.gan import methods, model, updates
from osgan_jax.gan.config import TrainConfig
from osgan_jax.gan.model import GAN, TrainState
from osgan_jax.runtime import parallel, settings

PEER = 'pytorch'


class Built(NamedTuple):
    """A scheme's step before it is compiled.

    Attributes:
      config: resolved.
      gan: what is trained.
      update: as `parallel.compile_update` takes it.
      state: on the first device there is.
      batch: on the host, as a call of the step takes it.
      one: a batch of one update.
      devices: for which it is built.
      divided: what of the state they divide among themselves.
    """

    config: TrainConfig
    gan: GAN
    update: updates.Update
    state: TrainState
    batch: Any
    one: Any
    devices: Sequence[jax.Device]
    divided: Sequence[str]

    def lower(self) -> Any:
        """The step, traced for its devices, to be compiled."""
        return turns.lower(
            self.update,
            self.state,
            self.batch,
            devices=self.devices,
            divided=self.divided,
            steps=self.config.steps_per_call,
        )

    def count_flops(self, compiled: float | None) -> float | None:
        """The FLOPs of a step over all devices, see `updates.count_flops`."""
        return updates.count_flops(
            self.gan,
            compiled,
            self.state,
            self.one,
            self.devices,
            accumulate=self.config.accumulate,
        )


def check(case: TrainConfig, schemes: Sequence[str], *, peer: bool = False) -> None:
    """Raises ValueError, before anything is compiled, for a case that cannot be trained."""
    for scheme in schemes:
        resolved = _resolve(case, scheme)
        model.build(resolved, num_classes=2, steps_per_epoch=1)
        devices = parallel.local_devices(resolved.num_devices, resolved.batch_size)
        rows = resolved.batch_size // len(devices)
        if rows % resolved.accumulate:
            raise ValueError(
                f'accumulate={resolved.accumulate} does not divide the {rows} images per device '
                'and step'
            )
    if peer:
        _check_peer(case)


def complete(case: TrainConfig, scheme: str) -> TrainConfig:
    """A case with as many updates of D a step as its method has in a scheme."""
    return dataclasses.replace(case, d_steps=_resolve(case, scheme).d_steps)


def measure_steps(
    case: TrainConfig, schemes: Sequence[str], *, repeats: int, peer: bool = False
) -> list[StepTiming]:
    """Times one step of each scheme, on random images, from the same fresh state.

    Args:
      case: networks, loss, batch and precision; its scheme and dataset are ignored.
      schemes: which of `SCHEMES`, in the order they take turns.
      repeats: timed calls of each scheme, after one that is not counted.
      peer: whether PyTorch's steps take turns with them.

    Raises:
      ValueError: for a case that cannot be trained; for a peer where torch is not installed or
        cannot train the case.
    """
    check(case, schemes, peer=peer)
    settings.set_precision(case.precision)
    runners = {scheme: _runner(case, scheme) for scheme in schemes}
    if peer:
        runners |= peer_runners(case, schemes)
    return turns.take_turns(runners, repeats, rest=peer)


def _resolve(case: TrainConfig, scheme: str) -> TrainConfig:
    trained = 'two_stage' if scheme == 'two_stage_eager' else scheme
    return methods.resolve(
        dataclasses.replace(case, scheme=trained),
        image_size=case.image_size,
        channels=case.channels,
        num_classes=2,
        num_examples=case.batch_size,
    )


def build(
    case: TrainConfig,
    scheme: str,
    devices: Sequence[jax.Device] | None = None,
    like: Built | None = None,
) -> Built:
    """Builds one scheme's step, its state and a batch of random images.

    Args:
      case: as for `measure_steps`.
      scheme: one of `SCHEMES`.
      devices: for which it is built; by default those that the case asks for.
      like: another step, whose state is taken where it is of the same networks and optimisers.

    Raises:
      ValueError: for a case that cannot be trained.
    """
    config = _resolve(case, scheme)
    devices = devices or parallel.local_devices(config.num_devices, config.batch_size)
    collectives = collectives_over(devices)
    gan = model.build(config, num_classes=2, steps_per_epoch=1, axis_name=collectives.axis_name)
    state = _state_of(gan, config.seed, like)
    update = updates.make_update(gan, scheme, state, collectives, accumulate=config.accumulate)
    rng = np.random.default_rng(config.seed)
    shape = (config.batch_size, *image_sizes.sides(config.image_size), config.channels)
    one: Any = {
        'image': rng.uniform(-1, 1, shape).astype(np.float32),
        'label': rng.integers(0, 2, config.batch_size).astype(np.int32),
    }
    batch = one
    for count in (config.d_steps, config.steps_per_call):
        batch = [batch] * count if count > 1 else batch
    divided = model.divided(config, devices, state)
    return Built(config, gan, update, state, batch, one, devices, divided)


def _state_of(gan: GAN, seed: int, like: Built | None) -> TrainState:
    """A fresh state; another step's where that is alike, for drawing a large one takes long."""
    if like is not None:
        # A scheme may decide about networks: StyleGAN2's D has no minibatch deviation in one stage.
        found, wanted = (
            jax.tree.map(lambda x: (x.shape, x.dtype), tree)
            for tree in (like.state, jax.eval_shape(lambda: model.create(gan, seed)))
        )
        if found == wanted:
            return like.state
    return model.create(gan, seed)


def _runner(case: TrainConfig, scheme: str) -> Runner:
    messages.say(f'Compiling {scheme} ...')
    start = time.perf_counter()
    built = build(case, scheme)
    runner, compiled = turns.compiled_runner(
        built.update,
        built.state,
        built.batch,
        devices=built.devices,
        divided=built.divided,
        began=start,
        steps=built.config.steps_per_call,
    )
    runner.flops = built.count_flops(parallel.flops(compiled, len(built.devices)))
    return runner


def _check_peer(case: TrainConfig) -> None:
    import importlib.util

    if importlib.util.find_spec('torch') is None:
        raise ValueError('--peer times PyTorch, which is not installed: pip install torch')
    config = _resolve(case, 'one_stage')
    from experiments.benchmark.peers import losses, networks

    if config.network not in networks.NETWORKS:
        raise ValueError(
            f'--peer: no PyTorch step exists for network={config.network!r}; it supports '
            f'{", ".join(networks.NETWORKS)}'
        )
    norms = networks.NETWORKS[config.network].norms
    refused = {
        'conditional': config.conditional,
        'optimizer': config.optimizer != 'adam',
        'num_devices': len(parallel.local_devices(case.num_devices, case.batch_size)) > 1,
        'steps_per_call': config.steps_per_call > 1,
        'accumulate': config.accumulate > 1,
        'd_steps': config.d_steps > 1,
        'discriminator_norm': config.discriminator_norm not in norms,
        'loss': config.loss not in losses.LOSSES,
        'penalty_every': _is_penalised(config) and config.penalty_every > 1,
        'path_length': config.path_length,
        'augment': config.augment,
    }
    for name, other in refused.items():
        if other:
            raise ValueError(
                f'--peer: no PyTorch step exists for {name}={getattr(config, name)!r}; it '
                f'supports unconditional {config.network} on one device, with Adam, the norms of D '
                f'{", ".join(norms)}, the losses {", ".join(losses.LOSSES)}, and penalties of D '
                'at every step'
            )


def _is_penalised(config: TrainConfig) -> bool:
    return any(getattr(config, name) for name in PENALTIES)


def peer_runners(
    case: TrainConfig, schemes: Sequence[str], *, compiler: str | None = None
) -> dict[str, Runner]:
    """PyTorch's steps, each made once, by names that begin with `PEER`.

    Args:
      case: checked, see `check`.
      schemes: those that have no counterpart there are left out.
      compiler: a backend of `torch.compile` for both networks; None for eager steps.
    """
    from experiments.benchmark.peers import peer

    device = 'cpu' if jax.default_backend() == 'cpu' else 'cuda'
    runners = {}
    for scheme in schemes:
        # shared_forward has no counterpart there.
        if scheme not in peer.SCHEMES:
            continue
        name = f'{PEER} {scheme}' + (', compiled' if compiler else '')
        messages.say(f'Preparing {name} ...')
        start = time.perf_counter()
        # A scheme may decide about networks.
        made = peer.Peer(_resolve(case, scheme), scheme, device, compiler=compiler)
        made.step()
        runners[name] = Runner(made.step, time.perf_counter() - start)
    return runners
