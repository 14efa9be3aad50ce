"""Step times of the schemes on one set of networks, measured side by side.

The schemes take turns within one process (A B C A B C ...), so that whatever else the machine does
falls on all of them, and medians are compared.
"""

import dataclasses
import importlib.metadata
import platform
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from osgan_jax import config as configs
from osgan_jax import methods, parallel, updates
from osgan_jax import state as states
from osgan_jax.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Timing:
    """One scheme's step.

    Attributes:
      scheme: which.
      seconds: median wall time of a step.
      low: first quartile.
      high: third quartile.
      flops: of the compiled step over all devices, None where the compiler does not say.
      compile_seconds: tracing and compiling.
    """

    scheme: str
    seconds: float
    low: float
    high: float
    flops: float | None
    compile_seconds: float


def measure(
    config: TrainConfig, *, repeats: int, schemes: Sequence[str] = configs.SCHEMES
) -> list[Timing]:
    """Times one step of each scheme, on random images, from the same fresh state.

    Args:
      config: networks, loss, batch and precision; its scheme and dataset are not looked at.
      repeats: timed steps of each scheme, after one that is not counted.
      schemes: which, in the order they take turns.

    Raises:
      ValueError: for a configuration that cannot be trained, or fewer than one repeat.
    """
    if repeats < 1:
        raise ValueError(f'repeats={repeats}: expected at least 1')
    runs = {scheme: _prepare(dataclasses.replace(config, scheme=scheme)) for scheme in schemes}
    seconds: dict[str, list[float]] = {scheme: [] for scheme in schemes}
    for repeat in range(repeats + 1):
        for scheme, run in runs.items():
            start = time.perf_counter()
            # The state is donated: each step's result is the next one's input.
            run.state, _ = run.update(run.state, run.batch)
            jax.block_until_ready(run.state)
            if repeat:
                seconds[scheme].append(time.perf_counter() - start)
    return [
        Timing(scheme, *_quartiles(seconds[scheme]), run.flops, run.compile_seconds)
        for scheme, run in runs.items()
    ]


def machine() -> dict[str, Any]:
    """What the numbers were measured on and with."""
    device = jax.local_devices()[0]
    return {
        'device': device.device_kind,
        'platform': device.platform,
        'processor': platform.processor() or platform.machine(),
        'python': platform.python_version(),
        'jax': jax.__version__,
        'jaxlib': importlib.metadata.version('jaxlib'),
        'numpy': np.__version__,
    }


@dataclasses.dataclass
class _Run:
    update: Any
    state: Any
    batch: Any
    flops: float | None
    compile_seconds: float


def _prepare(config: TrainConfig) -> _Run:
    config = methods.resolve(
        config,
        image_size=config.image_size,
        channels=config.channels,
        num_classes=2,
        num_examples=config.batch_size,
    )
    devices = parallel.local_devices(config.num_devices, config.batch_size)
    collectives = parallel.collectives(devices)
    gan = states.build(config, num_classes=2, steps_per_epoch=1, axis_name=collectives.axis_name)
    state = states.create(gan, config.seed)
    update = updates.make_update(gan, config.scheme, state, collectives)
    rng = np.random.default_rng(config.seed)
    shape = (config.batch_size, config.image_size, config.image_size, config.channels)
    batch = {
        'image': rng.uniform(-1, 1, shape).astype(np.float32),
        'label': rng.integers(0, 2, config.batch_size).astype(np.int32),
    }
    batch = parallel.put_batch(batch, devices)
    state = parallel.replicate(state, devices)
    start = time.perf_counter()
    compiled = parallel.compile_update(update, devices).lower(state, batch).compile()
    elapsed = time.perf_counter() - start
    flops = (compiled.cost_analysis() or {}).get('flops')
    return _Run(compiled, state, batch, flops and flops * len(devices), elapsed)


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    low, median, high = np.percentile(values, [25, 50, 75])
    return float(median), float(low), float(high)
