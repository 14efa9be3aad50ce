"""Downloads and prepares a dataset of tensorflow-datasets, once.

    python -m osgan_jax.data.prepare --dataset=cifar10 [--data_dir=~/tensorflow_datasets]

Writes random-access (ArrayRecord) files into `--data_dir`, which training then reads without
TensorFlow. Most datasets need TensorFlow for this step: pip install 'osgan_jax[tensorflow]'.
CIFAR-10 downloads about 0.2 GB and CelebA 1.4 GB, and each takes about as much again prepared.
LSUN is read from LMDB files, for which tfds also needs tensorflow-io.
"""

import argparse
import importlib.util
import os
import sys

from osgan_jax.data import catalogue, tfds_source
from osgan_jax.io import messages, paths


def prepare(name: str, data_dir: str | os.PathLike | None = None) -> str:
    """Prepares a dataset, unless it is there, and returns its folder.

    Args:
      name: a name of the catalogue, or `tfds:NAME`.
      data_dir: root of tfds datasets; by default the one `load` looks in.

    Raises:
      ValueError: unknown name, one that needs no preparing, or a missing library.
    """
    entry = catalogue.entry(name)
    if entry.kind in ('digits', 'stacked'):
        raise ValueError(f'{name} needs no preparation: it ships with scikit-learn')
    if entry.kind != 'tfds':
        raise ValueError(f'{name} needs no preparation: give its path as --data_dir')
    # Checked before anything is downloaded. Those named as tfds:NAME may not need TensorFlow.
    needs = ['tensorflow'] if name in catalogue.CATALOGUE else []
    if entry.tfds_name.startswith('lsun/'):
        needs.append('tensorflow_io')
    missing = [module for module in needs if importlib.util.find_spec(module) is None]
    if missing:
        raise ValueError(
            f'preparing {name} needs {" and ".join(missing)}, not installed here: '
            "pip install 'osgan_jax[tensorflow]'"
            + (' tensorflow-io' if 'tensorflow_io' in missing else '')
        )
    root = paths.expand(data_dir) if data_dir else None
    try:
        tfds_source.check_known(entry.tfds_name)
        import tensorflow_datasets as tfds

        builder = tfds.builder(entry.tfds_name, data_dir=root, file_format='array_record')
        builder.download_and_prepare(file_format='array_record')
    except ImportError as error:
        raise ValueError(
            f'preparing {name} needs a library that is not installed ({error}): '
            "pip install 'osgan_jax[tensorflow]'"
        ) from None
    except (ValueError, OSError):
        raise
    # An earlier attempt left incomplete files: protobuf raises errors that do not name them.
    except Exception as error:
        raise ValueError(
            f'tensorflow-datasets cannot continue ({error}): delete the files that an earlier '
            f'attempt left of {name}{f" in {root}" if root else ""}, and try again'
        ) from error
    return os.fspath(builder.data_dir)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    parser = argparse.ArgumentParser(prog='python -m osgan_jax.data.prepare', description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument('--dataset', required=True, help='a name of the catalogue, or tfds:NAME')
    parser.add_argument('--data_dir', help='root folder of tfds datasets')
    flags = parser.parse_args(arguments)
    try:
        print(f'{flags.dataset} is ready in {prepare(flags.dataset, flags.data_dir)}')
    except (ValueError, OSError) as error:
        print(f'cannot prepare {flags.dataset}: {messages.one_line(str(error))}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
