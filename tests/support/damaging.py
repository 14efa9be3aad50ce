"""What is done to the directories of runs."""

import pathlib
import shutil

JUNK = bytes(range(256)) * 4


def newest(workdir: pathlib.Path) -> pathlib.Path:
    """The last checkpoint of a run of four steps."""
    return workdir / 'checkpoints' / '4'


def lose(path: pathlib.Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def cut(path: pathlib.Path) -> None:
    """Keeps half of the largest file of a checkpoint."""
    largest = max(files_of(path), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])


def put_a_file(path: pathlib.Path) -> None:
    """Puts a file in the place of a checkpoint."""
    lose(path)
    path.write_bytes(JUNK)


def files_of(directory: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in directory.rglob('*') if path.is_file())
