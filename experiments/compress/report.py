"""Sizes and times of generators by channel multiplier: the columns of the paper's Tables 2 to 4."""

import datetime
import json
import os
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark import report as benchmark_report
from experiments.benchmark import turns
from experiments.compress.published import PRINTED, STUDIED, Printed
from osgan_jax import networks
from osgan_jax.gan import model
from osgan_jax.gan.config import parse_multiplier
from osgan_jax.io import atomic
from osgan_jax.networks import inference


def run(
    network: str,
    image_size: int | None = None,
    *,
    batch_size: int = 1,
    repeats: int = 5,
    out: str | os.PathLike[str] | None = None,
) -> None:
    """Measures, prints and, with `out`, writes a report; see `measure`."""
    size = image_size or STUDIED[network].image_size
    rows = measure(network, size, batch_size=batch_size, repeats=repeats)
    print(table(network, size, rows, batch_size=batch_size, repeats=repeats), flush=True)
    if out is not None:
        body = {
            'date': datetime.date.today().isoformat(),
            'machine': benchmark_report.machine(),
            'network': network,
            'image_size': size,
            'batch_size': batch_size,
            'repeats': repeats,
            'rows': rows,
        }
        with atomic.replacing(out) as file:
            file.write((json.dumps(body, indent=2) + '\n').encode())


def measure(
    network: str, image_size: int, *, batch_size: int = 1, repeats: int = 5
) -> list[dict[str, Any]]:
    """Counts, and times by turns, the generators of all multipliers.

    Args:
      network: one of `published.STUDIED`, at its published width.
      image_size: pixels.
      batch_size: images drawn at a time.
      repeats: timed draws of each, after one that is not counted; 0 times nothing.

    Returns:
      A row a multiplier: channel_multiplier, generator and discriminator (parameters), macs_true,
      macs_paper (multiplications with an addition, an image; see the networks' `macs`), and with
      repeats seconds (median), low and high (quartiles).

    Raises:
      ValueError: for another network, or a size that it has not.
    """
    if network not in STUDIED:
        raise ValueError(f'network={network!r}: expected one of {", ".join(STUDIED)}')
    spec = networks.get(network)
    rows, runners = [], {}
    for multiplier in STUDIED[network].multipliers:
        options = spec.complete(
            networks.NetworkOptions(
                image_size,
                channels=3,
                channel_multiplier=parse_multiplier(multiplier),
                num_classes=STUDIED[network].num_classes,
            )
        )
        pair = spec.build(options)
        z, labels = jnp.zeros((batch_size, options.latent_dim)), jnp.zeros(batch_size, jnp.int32)
        images = jnp.zeros((batch_size, image_size, image_size, 3))
        rows.append(
            {
                'channel_multiplier': multiplier,
                'generator': _count(pair.generator, z, labels),
                'discriminator': _count(pair.discriminator, images, labels),
                'macs_true': spec.macs(options, 'true'),
                'macs_paper': spec.macs(options, 'paper'),
            }
        )
        if repeats:
            runners[multiplier] = _runner(pair.generator, z, labels)
    if repeats:
        for row, timing in zip(rows, turns.take_turns(runners, repeats), strict=True):
            row |= {'seconds': timing.seconds, 'low': timing.low, 'high': timing.high}
    return rows


def table(
    network: str,
    image_size: int,
    rows: list[dict[str, Any]],
    *,
    batch_size: int,
    repeats: int,
) -> str:
    """The report as text, the paper's figures beside ours."""
    printed = PRINTED.get((network, image_size), {})
    times = f'draws of {batch_size}, medians of {repeats}, by turns' if repeats else 'not timed'
    lines = [
        f'{network}, {image_size} pixels; generators by channel multiplier; {times}',
        f'{"multiplier":<12}{"G params":>12}{"paper":>9}{"D params":>12}{"MACs true":>11}'
        f'{"as paper":>10}{"paper":>9}{"seconds":>10}{"speedup":>9}{"paper":>8}{"FID paper":>11}'
        f'{"PPL paper":>11}{"cropped":>9}',
    ]
    first = rows[0]
    for row in rows:
        paper = printed.get(row['channel_multiplier'], Printed(None, None))
        speedup = first['seconds'] / row['seconds'] if repeats else None
        theirs = printed['1'].seconds / paper.seconds if paper.seconds else None
        lines.append(
            f'{row["channel_multiplier"]:<12}{row["generator"]:>12,}'
            f'{_figure(paper.parameters, "{:.2f}M"):>9}{row["discriminator"]:>12,}'
            f'{row["macs_true"] / 1e9:>10.2f}G{row["macs_paper"] / 1e9:>9.2f}G'
            f'{_figure(paper.macs, "{:.2f}G"):>9}{_figure(row.get("seconds"), "{:.3f}"):>10}'
            f'{_figure(speedup, "{:.2f}"):>9}{_figure(theirs, "{:.2f}"):>8}'
            f'{_figure(paper.fid, "{:.2f}"):>11}{_figure(paper.ppl, "{:.1f}"):>11}'
            f'{_figure(paper.ppl_cropped, "{:.1f}"):>9}'
        )
    lines.append(
        'MACs true: as computed here; as paper: counted as its tables count, see '
        f'osgan_jax.networks.{network}.macs.'
    )
    return '\n'.join(lines)


def _figure(value: float | None, form: str) -> str:
    return '-' if value is None else form.format(value)


def _count(module: Any, inputs: jax.Array, labels: jax.Array) -> int:
    labels = labels if module.num_classes else None
    shapes = jax.eval_shape(
        lambda: module.init(jax.random.key(0), inputs, labels, train=False)['params']
    )
    return model.num_parameters(shapes)


def _runner(generator: Any, z: jax.Array, labels: jax.Array) -> turns.Runner:
    start = time.perf_counter()
    labels = labels if generator.num_classes else None
    shapes = jax.eval_shape(lambda: generator.init(jax.random.key(0), z, labels, train=False))
    rng = np.random.default_rng(0)
    # Times do not depend on the values, and orthogonal ones take minutes to make.
    variables = jax.tree.map(
        lambda x: jnp.asarray(0.02 * np.abs(rng.standard_normal(x.shape, np.float32))), shapes
    )
    draw = inference.compile_generator(generator)

    def call() -> None:
        jax.block_until_ready(draw(variables, z, labels))

    call()
    return turns.Runner(call, time.perf_counter() - start)
