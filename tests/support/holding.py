"""A lock that another process holds."""

import contextlib
import pathlib
import subprocess
import sys
from collections.abc import Iterator

# The lock alone: a process that imports jax takes seconds to.
_HOLDER = """
import fcntl, sys
file = open(sys.argv[1], 'a+')
fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
print('held', flush=True)
exec(sys.argv[2])
"""


@contextlib.contextmanager
def held(path: pathlib.Path, then: str = 'sys.stdin.read()') -> Iterator[subprocess.Popen]:
    """A process that holds the lock of a file; it ends with the context.

    Args:
      path: the file.
      then: Python that the process runs while it holds the lock; by default it waits for its end.
    """
    child = subprocess.Popen(
        [sys.executable, '-c', _HOLDER, str(path), then],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout.readline() == b'held\n'
        yield child
        child.kill()
