r"""Times training steps of every scheme on random images, taking turns in one process.

    python -m experiments.benchmark --image_size=64 --width=64 --batch_size=32

prints a table for each case. Its rows are one_stage, two_stage (without unused gradients: in theory
4/3 of one_stage's FLOPs), two_stage_eager (as a framework without a compiler runs it: 3/2) and
shared_forward. Its columns are the median and quartiles of a step's time, images per second, FLOPs
of the compiled step, FLOPs per second as a share of what large matrix products reach in the same
run, memory, compile time, and time to the first step. It takes about a minute on two CPU cores.

Most flags take lists, and all combinations are timed:

    python -m experiments.benchmark --network=dcgan,resnet_gan --image_size=32,64 --width=32 \
        --batch_size=16,32 --precision=float32,bfloat16 --out=results/steps.json

--r1=0,1 --r2=0,1 times the schemes without these penalties on D, with either and with both, at
every step. Every scheme then needs a double backward pass. --gradient_penalty=10 adds WGAN-GP's.
--d_steps=1,5 times steps with one update of D and with five, four of them of D alone. In theory, a
step of two_stage with N updates of D costs 4 Tg + 8 Td + (N - 1) (Tg + 6 Td), and one of one_stage
one Tg and two Td less.

--out writes a JSON file and a bar chart beside it (results/steps.png); --chart=a.json,b.json draws
the steps of several such files as one. With several cases a second
table shows how time and memory grow. --peer adds the same steps in eager PyTorch, if it is
installed. --loop=200 trains for 200 steps and prints the share of the time in which no step runs;
--pipeline measures the throughput of the input pipeline alone. Only these two need a dataset,
--dataset (synthetic: JPEG files of 178x218 pixels).

    python -m experiments.benchmark --suite=accelerator --out=results/gpu

measures a list of cases on one accelerator within eight minutes (--budget): DCGAN, ResNet,
StyleGAN2, BigGAN and R3GAN, three precisions, penalties, growing batches, PyTorch where it is
installed. Every case has a time limit and a file of its own; --report=results/gpu makes the table
and the charts of what is there, also of a suite that was killed. --scale=tiny tries it on a CPU.

    python -m experiments.benchmark --target=v5e:2x4 --width=128 --batch_size=1024 \
        --precision=bfloat16 --bytes

compiles every scheme for eight TPU chips that need not be there (it needs libtpu: the extra
tpu-topology) and prints FLOPs, bytes moved, memory and the bounds that follow from the chip's
published rates. It takes minutes a scheme and measures no time. --bytes lists the bytes by kind of
operation. --target=h200 has the bounds of a traced step on a GPU.

    python -m experiments.benchmark --distill=resnet34:resnet18 --batch_size=32

times rounds of distillation instead: one_stage, dfad (five updates of the student and one of the
generator), zskt and kd, per round and per update of the student.
"""

import dataclasses
import datetime
import itertools
import json
import pathlib
import sys
from typing import Any

from experiments import cli
from experiments.benchmark.config import (
    BenchmarkConfig,
    OtherConfig,
    SuiteConfig,
    TargetConfig,
)
from osgan_jax.io import atomic
from osgan_jax.networks import classifier_registry

_MOST_DEVICES = 1024  # of a CPU


@cli.command(BenchmarkConfig, OtherConfig, SuiteConfig, TargetConfig)
def main(
    config: BenchmarkConfig, other: OtherConfig, suite: SuiteConfig, target: TargetConfig
) -> None:
    """Measures, prints and writes."""
    kinds = {'suite': suite.suite, 'report': suite.report, 'target': target.target}
    kinds['chart'] = ','.join(suite.chart)
    kinds = [f'--{name}={value}' for name, value in kinds.items() if value]
    if len(kinds) > 1:
        raise ValueError(f'{" and ".join(kinds)} are different things: give one of them')
    if target.bytes and not target.target:
        raise ValueError('--bytes reads a program compiled for --target: give that too')
    if target.target:
        _compile_for(target, config, other.out)
        return
    if kinds:
        _run_suite(suite, other.out)
        return
    from osgan_jax.runtime import settings

    if config.num_devices:
        # A CPU has as many devices as it is asked for.
        if max(config.num_devices) > _MOST_DEVICES:
            raise ValueError(
                f'num_devices={max(config.num_devices)}: expected at most {_MOST_DEVICES:,}'
            )
        settings.set_cpu_devices(max(config.num_devices))
    from experiments.benchmark import charts, report, steps
    from experiments.benchmark.peak import measure_peak
    from experiments.benchmark.rounds import check_rounds, measure_rounds
    from osgan_jax.engine import messages

    distilled = _distilled(config, other)
    cases = [] if distilled else config.cases()
    for case in distilled:
        check_rounds(case, other.algorithms)
    cases = [steps.complete(case, config.scheme[0]) for case in cases]
    for case in cases:
        steps.check(case, config.scheme, peer=config.peer)
    machine = report.machine()
    print(', '.join(f'{key} {value}' for key, value in machine.items()), flush=True)
    peaks = {}
    for precision in dict.fromkeys(case.precision for case in (*cases, *distilled)):
        messages.say(f'Multiplying large matrices, {precision} ...')
        peaks[precision] = measure_peak(precision)
        messages.say(f'large matrix products, {precision}: {peaks[precision] / 1e9:,.0f} GFLOP/s')
    rows = []
    for case in cases:
        timings = steps.measure_steps(case, config.scheme, repeats=config.repeats, peer=config.peer)
        rows.append((case, timings))
        print('\n' + report.table(case, timings, peaks[case.precision]), flush=True)
    grown = report.growth(rows)
    if grown:
        print('\n' + grown, flush=True)
    feeding = _feeding(other, rows) if other.loop or other.pipeline else []
    rounds = []
    for case in distilled:
        timings = measure_rounds(case, other.algorithms, repeats=config.repeats)
        rounds.append((case, timings))
        peak = peaks[case.precision]
        print('\n' + report.rounds_table(case, timings, peak), flush=True)
    if other.out:
        path = pathlib.Path(other.out)
        body = {
            **_origin(machine),
            'peak_flops': peaks,
            'config': dataclasses.asdict(config),
            'steps': report.rows_as_json(rows, peaks),
            'rounds': report.rounds_as_json(rounds, peaks),
            'feeding': feeding,
        }
        _write(path, body)
        charted = [(report.name(case), timings) for case, timings in rows]
        charted += [(case.name, timings) for case, timings in rounds]
        title = f'{machine["device"]}, jax {machine["jax"]}, {body["date"]}'
        charts.save(path.with_suffix('.png'), charted, title)
        print(f'\nWritten: {path} and {path.with_suffix(".png")}')


def _origin(machine: dict[str, Any]) -> dict[str, Any]:
    return {
        'date': datetime.date.today().isoformat(),
        'command': ['python', '-m', 'experiments.benchmark', *main.argv],
        'machine': machine,
    }


def _write(path: pathlib.Path, body: dict[str, Any]) -> None:
    with atomic.replacing(path) as file:
        file.write((json.dumps(body, indent=2) + '\n').encode())


def _compile_for(asked: TargetConfig, config: BenchmarkConfig, out: str | None) -> None:
    import jax

    # Nothing is run but what builds the networks.
    jax.config.update('jax_platforms', 'cpu')
    from experiments.benchmark import report, targets

    target, found = targets.parse(asked.target), []
    machine = {**report.machine(), **targets.versions()}
    for case in config.cases():
        found.append({})
        compiled = []
        for each in targets.compile_schemes(target, case, config.scheme):
            compiled.append(each)
            found[-1] = targets.as_json(target, case, compiled)
            if out:  # at once: the next one may take minutes
                _write(pathlib.Path(out), {**_origin(machine), 'targets': found})
            if asked.bytes:
                print('\n' + targets.bytes_table(each) + '\n', flush=True)
        print('\n' + targets.table(target, case, compiled), flush=True)
    if out:
        print(f'\nWritten: {out}')


def _run_suite(suite: SuiteConfig, out: str | None) -> None:
    from experiments.benchmark.suite import run

    if suite.chart:
        if out is None:
            raise ValueError('--chart needs --out, the .png file to draw')
        from experiments.benchmark import charts

        charts.draw(suite.chart, pathlib.Path(out))
        print(f'Written: {out}')
        return
    if suite.report:
        run.report(pathlib.Path(suite.report))
        return
    if out is None:
        raise ValueError(f'--suite={suite.suite} needs --out, the directory of its results')
    directory = pathlib.Path(out)
    run.run(directory, scale=suite.scale, budget=suite.budget, argv=main.argv)


def _distilled(config: BenchmarkConfig, other: OtherConfig) -> list[Any]:
    """The cases of --distill: all pairs, batch sizes, precisions and numbers of devices.

    Raises:
      ValueError: for a text that is not a pair of classifiers.
    """
    from experiments.benchmark.rounds import RoundCase

    cases = []
    for pair in other.distill:
        teacher, _, student = pair.partition(':')
        if not teacher or not student:
            raise ValueError(
                f'distill={pair!r}: expected TEACHER:STUDENT, such as resnet34:resnet18'
            )
        for batch_size, precision, num_devices in itertools.product(
            config.batch_size, config.precision, config.num_devices or (None,)
        ):
            cases.append(
                RoundCase(
                    teacher=teacher,
                    student=student,
                    batch_size=batch_size,
                    channels=classifier_registry.get(teacher).channels,
                    precision=precision,
                    num_devices=num_devices,
                    generator_width=other.generator_width,
                )
            )
    if cases and not other.algorithms:
        raise ValueError('algorithms: expected at least one')
    return cases


def _feeding(other: OtherConfig, rows) -> list[dict[str, Any]]:
    """Measures loop and pipeline for each case; prints and returns the results."""
    from experiments.benchmark import loop, pipeline, report

    print()
    found = []
    for case, timings in rows:
        with pipeline.open_dataset(
            other.dataset,
            data_dir=other.data_dir,
            image_size=case.image_size,
            channels=case.channels,
        ) as dataset:
            entry: dict[str, Any] = {'case': report.name(case)}
            entry['dataset'] = dataset.name
            case = dataclasses.replace(case, num_workers=other.num_workers)
            if other.loop:
                timing = loop.measure_loop(case, dataset, num_steps=other.loop)
                entry['loop'] = {**dataclasses.asdict(timing), 'idle': timing.idle}
                print(
                    f'{entry["case"]}, on {dataset.name}: {1e3 * timing.loop_seconds:.1f} ms a '
                    f'step of the loop, {1e3 * timing.step_seconds:.1f} ms bare: the device idles '
                    f'{timing.idle:.1%} of the time',
                    flush=True,
                )
            if other.pipeline:
                rate = pipeline.measure_pipeline(
                    dataset, batch_size=case.batch_size, num_workers=other.num_workers
                )
                entry['pipeline'] = dataclasses.asdict(rate)
                taken = case.images_per_step / timings[0].seconds
                later = '' if rate.later is None else f', {rate.later:,.0f} later'
                print(
                    f'{dataset.name} at {dataset.image_size} pixels: {rate.first_epoch:,.0f} '
                    f'images/s in the first epoch{later}: {rate.first_epoch / taken:.1f} times '
                    f'the {taken:,.0f} that {timings[0].scheme} takes ({entry["case"]})',
                    flush=True,
                )
        found.append(entry)
    return found


if __name__ == '__main__':
    sys.exit(main())
