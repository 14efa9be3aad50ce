"""Our weights out: a folder with a run's networks in a form that others read.

`osgan_jax.gan.exported` has the folder's format, and reads weights back.
"""

import importlib.metadata
import json
import os
import pathlib
import platform
import secrets
import shutil
from collections.abc import Sequence
from typing import Any

from osgan_jax.engine.checkpoints import Restored
from osgan_jax.gan import exported, reading
from osgan_jax.gan.config import OWN, TrainConfig
from osgan_jax.gan.model import GAN, TrainState
from osgan_jax.io import json_numbers, messages, own_code, paths
from osgan_jax.pretrained import cards, stablehlo

FORMATS = (*exported.FORMATS, 'stablehlo')
README = 'README.txt'


def export(
    workdir: str | os.PathLike[str],
    file_format: str,
    *,
    out: str | os.PathLike[str] | None = None,
    step: int | None = None,
    average: bool | None = None,
    discriminator: bool = False,
    card: bool = False,
    overwrite: bool = False,
    kinds: Sequence[type[TrainConfig]] = (TrainConfig,),
    networks: Any = None,
) -> pathlib.Path:
    """Writes a folder with the generator of a run, whole or not at all.

    It holds the generator, export.json (configuration, facts, versions, checksums) and README.txt,
    with lines of Python that read it.

    Args:
      workdir: the run's directory.
      file_format: one of `FORMATS`: arrays by path in a .safetensors or .npz file, or a compiled
        program with its weights.
      out: the folder to write; by default `workdir/exported/FORMAT-step_STEP`.
      step: which checkpoint; None is the newest good one.
      average: whether the average of G is taken; None takes what sampling does, the average where
        the run keeps one.
      discriminator: whether D is written too; not as a program.
      card: whether a card is written too (`osgan_jax.pretrained.cards`), and no folder of this
        machine is named. An earlier export's card that is replaced keeps a person's words.
      overwrite: whether an export that is there is replaced.
      kinds: configurations of the kinds of run that are accepted.
      networks: the run's own networks, as for `reading.restore`.

    Returns:
      The folder.

    Raises:
      FileNotFoundError: there is no run.
      ValueError: an unknown format, a run of another kind or without an average, a folder that is
        there, or a program that cannot be made.
      osgan_jax.engine.checkpoints.CheckpointError: there is no such checkpoint, or none is good.
      OSError: the folder cannot be written.
    """
    if file_format not in FORMATS:
        raise ValueError(f'format={file_format!r}: expected one of {", ".join(FORMATS)}')
    if discriminator and file_format == 'stablehlo':
        raise ValueError(
            'stablehlo is a program that draws images, without D: take --format=safetensors for it'
        )
    workdir = pathlib.Path(paths.expand(workdir))
    run, gan, restored = reading.restore(workdir, step, kinds, networks)
    state = restored.state
    if average and state.ema_g is None:
        raise ValueError(f'{workdir} keeps no average of G (--ema_decay): leave --average out')
    name = f'{file_format}-step_{restored.step}'
    folder = pathlib.Path(paths.expand(out)) if out else workdir / 'exported' / name
    _check_free(folder, overwrite)
    facts = {
        **exported.describe(cards.public(run) if card else run),
        'step': restored.step,
        'average': state.ema_g is not None and average is not False,
        **_facts(run, gan),
    }
    if card:
        _cut_folders_of_code(facts, facts['run']['config'])
    work = folder.with_name(f'.{folder.name}.{secrets.token_hex(8)}.tmp')
    work.mkdir(parents=True)
    try:
        _write(work, file_format, gan, state, facts, discriminator)
        if card:
            _write_card(work, folder, workdir, run, restored, discriminator)
        _put(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _write(
    work: pathlib.Path,
    file_format: str,
    gan: GAN,
    state: TrainState,
    facts: dict[str, Any],
    discriminator: bool,
) -> None:
    """Writes the files of an export."""
    variables = state.sampling_variables() if facts['average'] else state.settled_variables()
    file = work / f'{exported.GENERATOR}.{file_format}'
    if file_format == 'stablehlo':
        program = stablehlo.serialise(gan, variables)
        file.write_bytes(program.content)
        facts['program'] = {
            'platforms': stablehlo.PLATFORMS,
            'arguments': program.arguments,
            'calling_convention': program.calling_convention,
            'promise': f'runs with jax of up to {stablehlo.MONTHS} months after the version below',
        }
        lines = _program_lines(gan, program.arguments)
    else:
        exported.write_weights(file, variables)
        if discriminator:
            of_d = {'params': state.params_d, **state.stats_d}
            exported.write_weights(work / f'{exported.DISCRIMINATOR}.{file_format}', of_d)
        lines = _weight_lines(file.name)
    facts['files'] = {path.name: exported.digest(path) for path in sorted(work.iterdir())}
    (work / exported.DESCRIPTION).write_text(json.dumps(facts, indent=2) + '\n')
    (work / README).write_text(_readme(facts, lines))


def _write_card(
    work: pathlib.Path,
    folder: pathlib.Path,
    workdir: pathlib.Path,
    run: Any,
    restored: Restored,
    discriminator: bool,
) -> None:
    """Writes the card of an export, with what a person has said in that of the one before."""
    before = cards.read(folder) if (folder / cards.FILE).exists() else None
    params = {exported.GENERATOR: restored.state.params_g}
    if discriminator:
        params[exported.DISCRIMINATOR] = restored.state.params_d
    body = cards.draft(workdir, run, restored.step, params, before)
    text = json.dumps(json_numbers.encoded(body), indent=2, ensure_ascii=False, allow_nan=False)
    (work / cards.FILE).write_text(text + '\n')


def _facts(run: Any, gan: GAN) -> dict[str, Any]:
    """What a person needs to use the networks."""
    return {
        'method': run.config.method,
        'network': run.config.network,
        'latent_dim': gan.latent_dim,
        'image_shape': list(gan.image_shape),
        'image_range': [-1, 1],
        'num_classes': gan.num_classes,
        'class_names': list(run.class_names) if gan.num_classes else [],
        'versions': {
            'python': platform.python_version(),
            **{name: _version(name) for name in ('osgan_jax', 'jax', 'jaxlib', 'flax')},
        },
    }


def _cut_folders_of_code(*described: dict[str, Any]) -> None:
    """Leaves the last name of files of one's own code: a configuration always has whole paths."""
    for facts in described:
        for name in OWN:
            if own_code.is_own(facts.get(name)):
                facts[name] = own_code.without_folder(facts[name])


def _version(name: str) -> str:
    """The version of a package; that of a checkout that was not installed is not known."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return 'not known'


_PIXELS = (
    'pixels = np.uint8(np.clip(np.rint((np.asarray(images) + 1) * 127.5), 0, 255))  # [N, H, W, C]'
)


def _program_lines(gan: GAN, arguments: list[dict[str, Any]]) -> list[str]:
    values = {
        'z': 'z',
        'label': f'np.arange(8, dtype=np.int32) % {gan.num_classes}',
        'seed': 'np.uint32(0)',
        'truncation': 'np.float32(1)',
    }
    given = ', '.join(values[each['name']] for each in arguments)
    own = stablehlo.has_own_latents(gan)
    remark = "  # in their place those of the networks' own distribution" if own else ''
    drawn = f'np.random.default_rng(0).normal(size=(8, {gan.latent_dim})).astype(np.float32)'
    return [
        'import jax, jax.export, numpy as np  # and: pip install jax flatbuffers',
        "program = bytearray(open('generator.stablehlo', 'rb').read())",
        f'z = {drawn}{remark}',
        f'images = jax.export.deserialize(program).call({given})',
        _PIXELS,
    ]


def _weight_lines(name: str) -> list[str]:
    return [
        'import numpy as np',
        'from osgan_jax.gan.sampling import Sampler',
        "sampler = Sampler('.')  # this folder",
        'images = sampler.images(sampler.latents(8, seed=0), sampler.labels(8))',
        _PIXELS,
    ]


def _readme(facts: dict[str, Any], lines: list[str]) -> str:
    height, width, channels = facts['image_shape']
    what = f'A generator of {height} x {width} images of {channels} channel(s), in [-1, 1]'
    if facts['num_classes']:
        what += f', of {facts["num_classes"]} classes'
    parts = [
        f'{what}: {facts["network"]}, trained by osgan_jax {facts["versions"]["osgan_jax"]} '
        f'({facts["method"]}), step {facts["step"]}.',
        f'{exported.DESCRIPTION} holds the configuration, classes, versions and checksums.',
    ]
    if 'program' in facts:
        parts.append(f'The program {facts["program"]["promise"]}: jax {facts["versions"]["jax"]}.')
    else:
        parts.append('Names of weights are their paths, such as params/Dense_0/kernel.')
    code = ''.join(f'    {line}\n' for line in lines)
    return '\n'.join(parts) + f'\n\nIn this folder:\n\n{code}'


def _check_free(folder: pathlib.Path, overwrite: bool) -> None:
    """Raises ValueError unless a folder may be written."""
    if not os.path.lexists(folder):
        return
    name = messages.printable(folder)
    if not overwrite:
        raise ValueError(f'{name} already exists: give another --out, or --overwrite to replace it')
    if not exported.is_export(folder):
        raise ValueError(f'{name} is not an export, and is not replaced: give another --out')


def _put(work: pathlib.Path, folder: pathlib.Path) -> None:
    """Gives a folder its name; what had it before goes last."""
    old = work.with_suffix('.old')
    if folder.exists():
        os.rename(folder, old)
    os.rename(work, folder)
    shutil.rmtree(old, ignore_errors=True)
