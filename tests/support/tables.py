"""Launching the tables as a person does, on images that are learnt in moments."""

import csv
import pathlib

import numpy as np

from tests.support import launching


def launch(module: str, workdir: pathlib.Path, *flags: str) -> launching.Done:
    """Calls `experiments.<module>` in this process."""
    return launching.call(module, f'--workdir={workdir}', *flags)


def refuses(module: str, workdir: pathlib.Path, *flags: str, message: str) -> None:
    """Asserts that flags end in one sentence with that message, before anything is written."""
    code, out, err = launch(module, workdir, *flags)
    assert code == 1
    assert message in err
    assert 'Traceback' not in err + out
    assert len(err.strip().splitlines()) == 1
    assert not workdir.exists()


def rows(path: pathlib.Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    return list(csv.DictReader(path.read_text().splitlines()))


def contents(workdir: pathlib.Path) -> dict[str, bytes]:
    """The files directly in a directory."""
    return {path.name: path.read_bytes() for path in workdir.iterdir() if path.is_file()}


def write_images(path: pathlib.Path, count: int, size: int, seed: int = 0) -> None:
    """Writes an .npz of images whose brightness tells their class, one of four."""
    rng, labels = np.random.default_rng(seed), np.arange(count) % 4
    pixels = rng.integers(0, 60, (count, size, size, 1)) + 60 * labels[:, None, None, None]
    np.savez(path, images=pixels.astype(np.uint8), labels=labels)
