"""Experiment modules as commands, each in a fork of one process that has imported everything.

A command of its own costs seconds of imports; a fork costs a tenth of one, and is as good: its own
flags, signals, exit code and streams, a memory limit, and an end if it hangs.

Run as a program this is that process: it reads requests, a JSON object a line, and answers each.
"""

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import pathlib
import pkgutil
import resource
import runpy
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from typing import Any, NamedTuple

from tests.support import ROOT

# Beyond what the imports have mapped, which is mostly never touched.
MEMORY = 3 * 2**30
_DESCRIBE = 'describe'


class Done(NamedTuple):
    """What became of a command.

    Attributes:
      code: its exit code, negative for a signal; None if it did not end in time.
      out: what it wrote to stdout.
      err: what it wrote to stderr.
      seconds: how long it took.
      cpu: seconds of processors that it took.
      memory: bytes it had in memory at its greatest.
    """

    code: int | None
    out: str
    err: str
    seconds: float
    cpu: float
    memory: int


class Launcher:
    """Runs experiment modules in forks; a context manager."""

    def __init__(self, folder: pathlib.Path, **environ: str):
        """Starts the process that forks.

        Args:
          folder: for the streams of commands.
          **environ: environment variables to set.
        """
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, 'PYTHONPATH': str(ROOT), **environ},
        )

    def __enter__(self) -> 'Launcher':
        return self

    def __exit__(self, *unused) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def run(self, module: str, argv: list[str], cwd: pathlib.Path, limit: float = 120) -> Done:
        """Runs `python -m experiments.MODULE ARGV`.

        Args:
          module: its name.
          argv: flags.
          cwd: where.
          limit: seconds until it is killed, with all that it has started.
        """
        out, err = self._folder / 'stdout', self._folder / 'stderr'
        request = {'module': module, 'argv': argv, 'cwd': str(cwd), 'limit': limit}
        self._process.stdin.write(json.dumps({**request, 'out': str(out), 'err': str(err)}) + '\n')
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        read = (path.read_text('utf-8', 'backslashreplace') for path in (out, err))
        return Done(answer['code'], *read, answer['seconds'], answer['cpu'], answer['memory'])

    def flags(self, module: str) -> list[dict[str, Any]]:
        """The flags of a module: name, kind and choices of each."""
        done = self.run(_DESCRIBE, [module], self._folder)
        assert done.code == 0, done.err
        return json.loads(done.out)


def _serve() -> dict[str, Any] | None:
    """Answers requests; returns None in the end, and in every fork its request."""
    answers = os.fdopen(os.dup(1), 'w')
    for line in sys.stdin:
        request = json.loads(line)
        start = time.monotonic()
        pid = os.fork()
        if not pid:
            answers.close()
            return request
        code, usage = _wait(pid, start + request['limit'])
        # What it has started ends with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        seconds = time.monotonic() - start
        answer = {
            'code': code,
            'seconds': seconds,
            'cpu': usage.ru_utime + usage.ru_stime,
            'memory': usage.ru_maxrss * 1024,
        }
        print(json.dumps(answer), file=answers, flush=True)
    return None


def _wait(pid: int, deadline: float):
    """The exit code of a fork, None if it had to be killed, and the resources it took."""
    watched = os.pidfd_open(pid)
    try:
        ended, _, _ = select.select([watched], [], [], max(0, deadline - time.monotonic()))
    finally:
        os.close(watched)
    if not ended:
        os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    return (os.waitstatus_to_exitcode(status) if ended else None), usage


def _become(request: dict[str, Any]) -> None:
    """Gives a fork the streams, the directory and the limits of its command."""
    os.setsid()
    os.chdir(request['cwd'])
    wanted = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    opened = [os.open(os.devnull, os.O_RDONLY)]
    opened += [os.open(request[name], wanted) for name in ('out', 'err')]
    for number, descriptor in enumerate(opened):
        os.dup2(descriptor, number)
        os.close(descriptor)
    # As the interpreter opens them.
    sys.stdout = io.TextIOWrapper(io.FileIO(1, 'w', closefd=False), 'utf-8')
    sys.stderr = io.TextIOWrapper(
        io.FileIO(2, 'w', closefd=False), 'utf-8', 'backslashreplace', write_through=True
    )
    mapped = int(pathlib.Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
    sys.argv = [f'experiments.{request["module"]}', *request['argv']]


def _describe(module: str) -> list[dict[str, Any]]:
    fields = runpy.run_module(f'experiments.{module}')['main'].fields.values()
    return [
        {
            'name': each.name,
            'kind': 'list' if each.many and not each.repeated else each.kind.__name__,
            'choices': each.choices,
        }
        for each in sorted(fields, key=lambda each: each.name)
        if each.name != 'debug'
    ]


def _import_everything() -> None:
    """What the modules import once they run; jax computes nothing yet, and has no threads."""
    import matplotlib.pyplot  # noqa: F401

    import osgan_jax
    from osgan_jax.reporting import tensorboard

    tensorboard._import()
    for module in pkgutil.walk_packages(osgan_jax.__path__, 'osgan_jax.'):
        importlib.import_module(module.name)


def _command() -> None:
    """Runs and ends as the interpreter does, but does not tear down imports, a second's work."""
    code: Any = 0
    try:
        runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)
    except SystemExit as stopped:
        code = stopped.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == '__main__':
    _import_everything()
    gc.freeze()  # what a collection touches, a fork copies
    asked = _serve()
    if asked is not None:
        _become(asked)
        if asked['module'] == _DESCRIBE:
            print(json.dumps(_describe(*asked['argv'])), flush=True)
            os._exit(0)
        _command()
