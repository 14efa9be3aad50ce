"""Timing in turns: runners alternate within one process, and medians are compared.

In turns (A B C A B C ...), any other load on the machine affects all of them.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from osgan_jax.engine import messages
from osgan_jax.runtime import parallel

_REST_SECONDS = 0.05
# What a timing has of its runner.
_FACTS = ('flops', 'bytes', 'compile_seconds', 'first_step_seconds', 'num_devices')


@dataclasses.dataclass(frozen=True)
class StepTiming:
    """One scheme's step on one case.

    Attributes:
      scheme: its name; 'pytorch ...' for the peer's.
      seconds: median wall time of a step.
      low: first quartile.
      high: third quartile.
      flops: of the compiled step over all devices; None where the compiler does not say, and under
        accumulation, of which it counts one part.
      bytes: memory that one device needs for the step: state, batch and what the compiler reserves
        for intermediate results; None where it does not say.
      compile_seconds: tracing and compiling, None where nothing is compiled.
      first_step_seconds: from building the networks until the first step has ended.
      num_devices: over which the step ran.
      processors: that compute at once; the devices, but one on CPU, whose devices share its cores.
    """

    scheme: str
    seconds: float
    low: float
    high: float
    flops: float | None
    bytes: int | None
    compile_seconds: float | None
    first_step_seconds: float
    num_devices: int
    processors: int


@dataclasses.dataclass
class Runner:
    """A function that makes `steps` training steps per call and waits for them."""

    call: Callable[[], None]
    first_step_seconds: float
    steps: int = 1
    num_devices: int = 1
    flops: float | None = None
    bytes: int | None = None
    compile_seconds: float | None = None


def take_turns(
    runners: Mapping[str, Runner], repeats: int, *, rest: bool = False
) -> list[StepTiming]:
    """Times runners in turns.

    Args:
      runners: by name.
      repeats: timed calls of each, after one that is not counted.
      rest: whether to pause before each call, where threads of another framework go on spinning
        for a while after their work.
    """
    messages.say(f'Timing them by turns, {repeats} times each ...')
    seconds: dict[str, list[float]] = {scheme: [] for scheme in runners}
    for repeat in range(repeats + 1):
        for scheme, runner in runners.items():
            if rest:
                time.sleep(_REST_SECONDS)
            start = time.perf_counter()
            runner.call()
            if repeat:
                seconds[scheme].append((time.perf_counter() - start) / runner.steps)
    timings = []
    for scheme, runner in runners.items():
        low, median, high = np.percentile(seconds[scheme], [25, 50, 75])
        timings.append(
            StepTiming(
                scheme=scheme,
                seconds=float(median),
                low=float(low),
                high=float(high),
                **{name: getattr(runner, name) for name in _FACTS},
                processors=1 if jax.default_backend() == 'cpu' else runner.num_devices,
            )
        )
    return timings


def compiled_runner(
    update: Callable[..., tuple[Any, Any]],
    state: Any,
    batch: Any,
    *constants: Any,
    devices: Sequence[jax.Device],
    divided: Sequence[str] = (),
    began: float,
    steps: int = 1,
) -> tuple[Runner, Any]:
    """Compiles a step and makes the first one.

    Args:
      update: as `parallel.compile_update` takes it.
      state: on one device.
      batch: on the host.
      *constants: further arguments, likewise on one device.
      devices: where to run.
      divided: what of the state they divide among themselves.
      began: `time.perf_counter()` before the networks were built.
      steps: steps a call.

    Returns:
      The runner, whose FLOPs are not known yet, and the compiled program.
    """
    constants = [parallel.replicate(constant, devices) for constant in constants]
    before = time.perf_counter()
    lowered = lower(update, state, batch, *constants, devices=devices, divided=divided, steps=steps)
    compiled = lowered.compile()
    compile_seconds = time.perf_counter() - before
    runner = Runner(
        call=first_call(compiled, state, batch, *constants, devices=devices, divided=divided),
        first_step_seconds=time.perf_counter() - began,
        steps=steps,
        num_devices=len(devices),
        bytes=memory(compiled),
        compile_seconds=compile_seconds,
    )
    return runner, compiled


def lower(
    update: Callable[..., tuple[Any, Any]],
    state: Any,
    batch: Any,
    *constants: Any,
    devices: Sequence[jax.Device],
    divided: Sequence[str] = (),
    steps: int = 1,
) -> Any:
    """A step, traced for devices that need not be there, to be compiled.

    Args: as for `compiled_runner`, but `constants` are on the devices.
    """
    shapes = parallel.shapes(state, batch, devices, divided)
    mapped = parallel.compile_update(
        update, devices, state=shapes[0], steps_per_call=steps, num_constants=len(constants)
    )
    return mapped.lower(*shapes, *constants)


def first_call(
    compiled: Any,
    state: Any,
    batch: Any,
    *constants: Any,
    devices: Sequence[jax.Device],
    divided: Sequence[str] = (),
    calls: int = 1,
) -> Callable[[], None]:
    """Makes the first call of a compiled step.

    Args:
      compiled: for the devices.
      state: on one device; it is used up.
      batch: on the host.
      *constants: further arguments, on the devices.
      devices: where to run.
      divided: what of the state they divide among themselves.
      calls: made at a time, one after the other without waiting in between.

    Returns:
      A function that makes the next ones and waits for them.
    """
    batch = parallel.put_batch(batch, devices)
    state = parallel.place(state, devices, divided)

    def call() -> None:
        # The state is donated: each step's result is the next one's input.
        nonlocal state
        for _ in range(calls):
            state, _ = compiled(state, batch, *constants)
        jax.block_until_ready(state)

    call()
    return call


def memory(compiled: Any) -> int | None:
    """Bytes that a compiled step needs on one device; None where the compiler does not say."""
    sizes = compiled.memory_analysis()
    if sizes is None:
        return None
    # What is donated is counted among the arguments and among the results.
    return (
        sizes.argument_size_in_bytes
        + sizes.output_size_in_bytes
        - sizes.alias_size_in_bytes
        + sizes.temp_size_in_bytes
    )
