"""Published rates of accelerators, and the bounds that they set to a step."""

import dataclasses
from collections.abc import Mapping

_GOOGLE = 'cloud.google.com/tpu/docs, system architecture'


@dataclasses.dataclass(frozen=True)
class Chip:
    """An accelerator as its maker describes it.

    Attributes:
      name: as `--target` takes it.
      platform: 'tpu' or 'gpu'.
      flops: dense operations per second by precision.
      bandwidth: bytes per second of the main memory.
      memory: bytes of it.
      source: where the numbers are published.
      kind: of a TPU, what its runtime calls a slice of it.
      devices: that jax sees of one chip; each has its part of the rates.
    """

    name: str
    platform: str
    flops: Mapping[str, float]
    bandwidth: float
    memory: float
    source: str
    kind: str = ''
    devices: int = 1

    def rate(self, precision: str) -> tuple[float, str]:
        """The published rate for a precision, and the precision that it was published for.

        Where there is none, that of bfloat16, which no precision exceeds.
        """
        published = precision if precision in self.flops else 'bfloat16'
        return self.flops[published], published


def _tpu(
    name: str, kind: str, teraflops: float, gigabytes: float, memory: float, devices: int = 1
) -> Chip:
    rates = {'bfloat16': teraflops * 1e12}
    return Chip(name, 'tpu', rates, gigabytes * 1e9, memory * 2**30, _GOOGLE, kind, devices)


def _gpu(name: str, rates: tuple[float, float, float], gigabytes: float, memory: float) -> Chip:
    flops = dict(zip(('bfloat16', 'tensorfloat32', 'float32'), rates, strict=True))
    flops = {precision: rate * 1e12 for precision, rate in flops.items()}
    source = f"NVIDIA's data sheet of the {name.upper()} (SXM), without sparsity"
    return Chip(name, 'gpu', flops, gigabytes * 1e9, memory * 1e9, source)


CHIPS = {
    chip.name: chip
    for chip in (
        _tpu('v4', 'v4-8', 275, 1228, 32, devices=2),
        _tpu('v5e', 'v5litepod-8', 197, 819, 16),
        _tpu('v5p', 'v5p-8', 459, 2765, 95),
        _tpu('v6e', 'v6e-8', 918, 1640, 32),
        _gpu('a100', (312, 156, 19.5), 2039, 80),
        _gpu('h100', (989, 494, 67), 3350, 80),
        _gpu('h200', (989, 494, 67), 4800, 141),
    )
}


@dataclasses.dataclass(frozen=True)
class Bound:
    """The least time of a step on a chip, by each of its rates, in seconds; not a time measured.

    Attributes:
      arithmetic: FLOPs over the published rate.
      memory: bytes moved over the published bandwidth.
    """

    arithmetic: float
    memory: float

    @property
    def seconds(self) -> float:
        """The larger of the two."""
        return max(self.arithmetic, self.memory)

    @property
    def by(self) -> str:
        """Which it is."""
        return 'arithmetic' if self.arithmetic >= self.memory else 'memory'


def bound(chip: Chip, precision: str, flops: float, moved: float) -> Bound:
    """The roofline of a step.

    Args:
      chip: where it would run.
      precision: of its products.
      flops: of one device, as jax sees them.
      moved: bytes of its main memory that one device reads and writes.
    """
    return Bound(
        flops * chip.devices / chip.rate(precision)[0], moved * chip.devices / chip.bandwidth
    )
