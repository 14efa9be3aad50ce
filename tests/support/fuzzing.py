"""Flag sets that nearly work: a tiny command that does, with a few flags changed.

Flags are those that absl knows, so that new ones are tried by themselves; all have values of their
kind, in range, at its edges and beyond. Paths are relative to the folder that `write_inputs` fills.
"""

import pathlib
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

# What commands may write to; each has a new one.
NEW = 'new'

_GAN = (
    *('--dataset=npz', '--data_dir=small.npz', '--image_size=16', '--width=4', '--latent_dim=6'),
    *('--batch_size=8', '--num_steps=2', '--num_samples=4', '--num_devices=1'),
)
_CLASSIFIER = (
    *('--dataset=npz', '--data_dir=small.npz', '--test_split=train', '--batch_size=8'),
    *('--num_devices=1', '--crop=2'),
)
_DATA_FREE = ('--student=lenet5_half', '--generator_width=2', '--latent_dim=4')
_ALONE = ('--peer_timeout=1',)  # what waits for other processes waits so long
# Commands that work, and take as little time as any.
COMMANDS: dict[str, tuple[str, ...]] = {
    'train': (*_GAN, *_ALONE, f'--workdir={NEW}'),
    'sample': ('--workdir=gan', f'--out={NEW}', '--grid=4', '--count=2', '--steps=3'),
    'evaluate': (
        *('--workdir=gan', '--metrics=kid', '--num_samples=8', '--cache_dir=cache'),
        '--path_length_pairs=4',
    ),
    'edit': (
        *('--workdir=gan', f'--out={NEW}', '--sheet=truncation', '--rows=2', '--columns=2'),
        *('--frames=3', '--num_samples=20', '--truncations=0.5,inf'),
    ),
    'benchmark': (
        *('--image_size=16', '--width=4', '--batch_size=8', '--repeats=1', '--latent_dim=6'),
        *('--scheme=one_stage', '--num_devices=1', '--generator_width=2'),
    ),
    'table1': (
        *(flag for flag in _GAN if 'num_samples' not in flag),
        *('--methods=lsgan', '--schemes=one_stage', '--seeds=0', '--metrics=kid'),
        *('--num_samples=8', '--eval_samples=8', f'--workdir={NEW}'),
    ),
    'table2': (
        *(*_CLASSIFIER, '--teacher=teacher', '--algorithms=kd', '--seeds=0'),
        *('--student_updates=2', '--generator_width=2', f'--workdir={NEW}'),
    ),
    'teacher': (*_CLASSIFIER, *_ALONE, '--num_steps=2', '--image_size=32', f'--workdir={NEW}'),
    'distill': (
        *(*_DATA_FREE, *_ALONE, '--teacher=teacher', '--dataset=none', '--batch_size=8'),
        *('--num_steps=2', '--num_samples=4', '--num_devices=1', f'--workdir={NEW}'),
    ),
    'compress': (
        *(*_ALONE, '--teacher=gan', '--stage_one_kimg=0.008', '--stage_two_kimg=0.008'),
        *('--num_samples=4', '--num_devices=1', f'--workdir={NEW}'),
    ),
    'convert': (
        *('--weights=G.npz,D.npz', '--method=stylegan2', '--dataset=npz', '--width=4'),
        *('--latent_dim=6', f'--workdir={NEW}'),
    ),
}

# Of these, those that train a run.
TRAINS = ('train', 'teacher', 'distill', 'compress')

# Words that mean something to one flag or other.
_WORDS = {
    'algorithms': ('kd', 'zskt', 'dfad', 'one_stage', 'one_stage_kl', 'supervised'),
    'augment': ('color', 'translation', 'cutout', 'ada'),
    'augment_groups': ('blit', 'geom', 'color:0.5', 'noise', 'cutout', 'color:2'),
    'channel_multiplier': ('1/2', '1/3', '1/4', '0.25', '2', '1'),
    'dataset': (
        'digits',
        'stacked_digits',
        'npz',
        'folder',
        'ffhq',
        'cifar10',
        'tfds:nosuch',
        'none',
    ),
    'coordinator': ('localhost:1', 'localhost:99999', 'localhost', 'auto'),
    'data_dir': ('small.npz', 'folder', 'broken.npz', 'images'),
    'discriminator_norm': ('group', 'instance', 'layer', 'spectral', 'batch', 'none'),
    'distill': ('lenet5:lenet5_half', 'lenet5', 'resnet18:nosuch'),
    'generator': ('dfad', 'zskt'),
    'imitated': ('8', '16', 'out'),
    'loss': ('hinge', 'wasserstein', 'minimax', 'fisher', 'relativistic', 'non_saturating'),
    'loss_options': ('slope=0.2', 'rho=1', 'rho=nan', 'a=b'),
    'method': ('dcgan', 'lsgan', 'wgan', 'cgan', 'fishergan', 'stylegan2', 'biggan', 'r3gan'),
    'metrics': ('fid', 'kid', 'is', 'pr', 'modes'),
    'mixing_layers': ('coarse', 'fine', '0-1', '1-0'),
    'network': ('dcgan', 'resnet_gan', 'biggan', 'stylegan2', 'r3gan', 'lenet5', 'lenet5_half'),
    'path_length': ('w_end', 'z_end', 'z_full'),
    'precision': ('float32', 'bfloat16', 'tensorfloat32'),
    'recipe': ('kd.temperature=2', 'teacher.crop=1', 'kd.nosuch=1', 'kd=1', 'kd.batch_size=x'),
    'scheme': ('one_stage', 'two_stage', 'shared_forward', 'two_stage_eager'),
    'sheet': ('mixing', 'interpolate_z', 'interpolate_classes', 'truncation', 'direction'),
    'split': ('train', 'all', 'test', 'train[:10%]'),
    'student': ('lenet5', 'lenet5_half'),
    'teacher': ('teacher', 'gan'),
    'teacher_network': ('lenet5', 'lenet5_half'),
    'weights': ('G.npz', 'D.npz', 'small.npz', 'broken.npz'),
    'workdir': (NEW, 'gan', 'teacher', 'folder'),
}
_WORDS['schemes'] = _WORDS['scheme']
_PATHS = ('file.txt', 'folder', 'nowhere', 'file.txt/below', '/proc/nowhere', 'gan', 'broken.npz')
_TEXTS = ('', ' ', 'nosuch', 'é☃', 'two\nlines', '\udce9', '1/0', '-', '%s{0}', 'x' * 300, '..')
_WHOLE = ('0', '1', '2', '3', '-1', '8', '1000000000', '1' + 30 * '0')
_NO_WHOLE = ('', 'nan', '1.5', '1e3', '0x10', 'a', '1/2', '½')
_REAL = ('0', '1', '-1', '0.5', '0.1', '2', '1e308', '-1e308', '1e-320', 'nan', 'inf', '-inf')
_NO_REAL = ('', '1/3', '1/0', 'a', '1,5', '1e', '∞')

# Where more is more work, and whoever asks for it is to have it.
_FEW = {
    'methods': ('lsgan', 'wgan', 'nosuch', 'lsgan,lsgan', 'lsgan,', ',', 'stylegan3'),
    'num_samples': ('2', '8', '-1', '0', 'a', '1' + 30 * '0'),
    'd_steps': ('2', '-1', '0', '1' + 30 * '0'),
    'num_steps': ('2', '-1', '0', '1' + 30 * '0'),
    'teacher_steps': ('2', '-1', '0', '1' + 30 * '0'),
    'student_updates': ('2', '-1', '0', '1' + 30 * '0'),
    'repeats': ('1', '-1', '0'),
    'loop': ('-1', '1'),
    'report_repeats': ('0', '1', '-1'),
    'report_network': ('stylegan2',),
    'report': ('false',),
    'peer': ('false',),
    'pipeline': ('false',),
    'all': ('true', 'false'),
    'fraction': ('0', '-1', 'nan', 'inf', '1e-9'),
    'max_seconds': ('-1', '0', 'nan', 'inf', '1e308', '1e-9'),
    'num_workers': ('0', '-1', '1000000000'),
    'peer_timeout': ('1', '0', '-1', 'a', '1' + 30 * '0'),
    'inception_weights': ('broken.npz', 'file.txt', 'nowhere', 'folder', ''),
    'stage_one_kimg': ('0', '0.008', '-1', 'nan', 'inf', '1e308'),
    'stage_two_kimg': ('0', '0.008', '-1', 'nan', 'inf', '1e308'),
    'compilation_cache': ('off', 'file.txt', ''),
}
# What commands cannot do without, or have from elsewhere then: without others they take long.
_WANTED = ('--workdir', '--teacher', '--weights', '--data', '--method=', '--out', '--sheet')
_BESIDES = (
    *('stray', '--nosuch=1', '--nonosuch', '--=1', '--', '-', '---', '--flagfile=nowhere', '-x'),
    *('--flagfile=folder', '--flagfile=broken.npz', '--undefok=', '', 'é'),
)


def write_inputs(folder: pathlib.Path) -> None:
    """Writes small.npz, 40 images of 16 pixels, and files and folders that are no such thing."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 4
    images = rng.integers(0, 60, (40, 16, 16, 1)) + 60 * labels[:, None, None, None]
    np.savez(folder / 'small.npz', images=images.astype(np.uint8), labels=labels)
    (folder / 'broken.npz').write_bytes((folder / 'small.npz').read_bytes()[:2000])
    (folder / 'file.txt').write_text('a file')
    (folder / 'folder').mkdir()
    (folder / 'folder' / 'kept.txt').write_text('kept')


def value(rng: random.Random, flag: dict[str, Any]) -> str:
    """A value of one flag, mostly of its kind.

    Args:
      rng: where chance comes from.
      flag: as `forked.Launcher.flags` describes it.
    """
    name, kind = flag['name'], flag['kind']
    if name in _FEW:
        return rng.choice(_FEW[name])
    if kind == 'bool':
        return rng.choice(('true', 'false', 'true', 'false', 'maybe', ''))
    if kind == 'int':
        return _mostly(rng, _WHOLE, _NO_WHOLE)
    if kind == 'float':
        return _mostly(rng, _REAL, _NO_REAL)
    if flag['choices'] and kind != 'list':
        return _mostly(rng, flag['choices'], ('', 'nosuch', flag['choices'][0].upper()))
    words = _WORDS.get(name, ())
    if kind == 'list':
        others = (_PATHS, _WHOLE, _REAL, _TEXTS)
        pools = [words or rng.choice(others), words or rng.choice(others), rng.choice(others)]
        return ','.join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 2)))
    return _mostly(rng, (*words, *rng.sample(_PATHS, 3)), _TEXTS)


def _mostly(rng: random.Random, many: Sequence[str], some: Sequence[str]) -> str:
    return rng.choice(many if rng.random() < 0.75 else some)


def setting(rng: random.Random, flag: dict[str, Any]) -> str:
    """What a person types to set one flag."""
    name, form = flag['name'], rng.random()
    if flag['kind'] == 'bool' and form < 0.3:
        return f'--no{name}' if form < 0.15 else f'--{name}'
    return f'--{name}' if form < 0.04 else f'--{name}={value(rng, flag)}'


@st.composite
def commands(draw, module: str, flags: list[dict[str, Any]], least: int = 1) -> list[str]:
    """The flags of a command that works, with up to three changes.

    Args:
      draw: hypothesis's.
      module: one of `COMMANDS`.
      flags: as `forked.Launcher.flags` describes them.
      least: changes at least.
    """
    # A single draw: of many small ones hypothesis repeats most, and finds little new.
    rng = draw(st.randoms(use_true_random=True))
    argv = list(COMMANDS[module])
    for _ in range(rng.randint(least, 3)):
        form = rng.random()
        if form < 0.06:
            argv.insert(rng.randint(0, len(argv)), rng.choice(_BESIDES))
        elif form < 0.12:
            wanted = [flag for flag in argv if flag.startswith(_WANTED)]
            argv.remove(rng.choice(wanted or argv))
        else:
            # Repeated, where the command has it: the last counts.
            argv.append(setting(rng, rng.choice(flags)))
    return argv
