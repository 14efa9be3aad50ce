"""Times a training step of each scheme on random images, interleaved in one process.

    python -m experiments.benchmark --image_size=64 --width=64 --batch_size=32

prints a table: median and quartiles of a step, images a second, FLOPs of the compiled step, compile
time, and each scheme's time and FLOPs over one_stage's. The arithmetic allows two_stage/one_stage
at most 4/3. --out=FILE.json keeps the numbers. About a minute and a half on two CPU cores.
"""

import dataclasses
import datetime
import json
import pathlib
import sys

from absl import flags

from experiments import cli
from osgan_jax.config import TrainConfig

_REPEATS = flags.DEFINE_integer('repeats', 12, 'timed steps of each scheme', lower_bound=1)
_OUT = flags.DEFINE_string('out', None, 'JSON file to write; its folder is created')
cli.define_flags(TrainConfig, {'image_size': 64, 'channels': 3})


def main() -> None:
    """Measures and prints."""
    from osgan_jax import benchmarking, reporting

    config = cli.config_from_flags(TrainConfig)
    timings = benchmarking.measure(config, repeats=_REPEATS.value)
    machine = benchmarking.machine()
    first = timings[0]
    print(f'{config.method}, {config.image_size} pixels, width {config.width}, batch '
          f'{config.batch_size}, {config.precision}, on {machine["device"]}')  # fmt: skip
    print(f'{"scheme":<16}{"ms":>9}{"quartiles":>17}{"images/s":>11}{"GFLOP":>9}{"compile s":>11}'
          f'{"time/" + first.scheme:>16}{"FLOP ratio":>12}')  # fmt: skip
    for timing in timings:
        flops = '' if timing.flops is None else f'{timing.flops / 1e9:.2f}'
        ratio = '' if not (timing.flops and first.flops) else f'{timing.flops / first.flops:.3f}'
        quartiles = f'{1e3 * timing.low:.1f}..{1e3 * timing.high:.1f}'
        print(
            f'{timing.scheme:<16}{1e3 * timing.seconds:>9.1f}{quartiles:>17}'
            f'{config.batch_size / timing.seconds:>11.0f}{flops:>9}'
            f'{timing.compile_seconds:>11.1f}{timing.seconds / first.seconds:>16.3f}{ratio:>12}'
        )
    if _OUT.value:
        body = {
            'date': datetime.date.today().isoformat(),
            'command': ['python', '-m', 'experiments.benchmark', *sys.argv[1:]],
            'machine': machine,
            'config': json.loads(config.to_json()),
            'repeats': _REPEATS.value,
            'timings': [dataclasses.asdict(timing) for timing in timings],
        }
        with reporting.files.replacing(pathlib.Path(_OUT.value)) as file:
            file.write((json.dumps(body, indent=2) + '\n').encode())


if __name__ == '__main__':
    cli.run(main)
