"""Progress on the terminal: a live bar, or plain lines where there is no terminal."""

from __future__ import annotations

import collections
import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import numpy as np

_WINDOW = 30.0  # seconds the rate is measured over
_REDRAW = 0.25  # seconds between two drawings of the bar


class Progress:
    """Shows the step, rates, metrics, and the time taken and left.

    On a terminal: a bar and a line of numbers, redrawn at most four times a second. Elsewhere (a
    file, a pipe, a job's log): one plain line every `every_seconds`, no control characters.

    The rate is that of the last 30 seconds. The first update only starts its clock, so that
    compiling does not count. Rich draws the bar; the numbers are computed here, for plain lines and
    timing.jsonl need them too.

    Args:
      total_steps: where training ends.
      initial_step: where this process begins, above 0 when resuming.
      batch_size: real images a step, over all devices.
      every_seconds: interval of the plain lines.
      seconds_left: seconds of the time limit that are left; None without a limit.
      file: where to write, None is standard output.
      clock: seconds, monotonic.
    """

    def __init__(
        self,
        total_steps: int,
        initial_step: int = 0,
        batch_size: int = 1,
        every_seconds: float = 10.0,
        *,
        seconds_left: Callable[[], float] | None = None,
        file: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._total = total_steps
        self._initial = self._step = initial_step
        self._batch_size = batch_size
        self._seconds_left = seconds_left
        self._clock = clock
        self._start = self._shown = clock()
        self._marks: collections.deque[tuple[float, int]] = collections.deque()
        self._measured: tuple[float, int] | None = None
        self._metrics: Mapping[str, Any] = {}
        self._file = sys.stdout if file is None else file
        self._live = None
        self._closed = False
        if self._file.isatty():
            self._live = _live(self._file)
        # The first plain line comes early: it tells a person that the run is alive.
        self._interval = _REDRAW if self._live else every_seconds
        if self._live:
            self._draw()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def steps_per_second(self) -> float:
        """Over the last 30 seconds; NaN before two updates."""
        if len(self._marks) < 2:
            return math.nan
        (then, first), (now, last) = self._marks[0], self._marks[-1]
        return (last - first) / (now - then) if now > then else math.nan

    @property
    def images_per_second(self) -> float:
        """Real images over the last 30 seconds; NaN before two updates."""
        return self.steps_per_second * self._batch_size

    def update(self, step: int, metrics: Mapping[str, Any] | None = None) -> None:
        """Sets the number of finished updates and redraws if that is due.

        Args:
          step: number of finished updates.
          metrics: words and scalars (numbers, or arrays of one element) to show; None keeps the
            last ones. An array is read only when it is shown: not every step waits for a device.
        """
        now = self._clock()
        first = not self._marks
        self._step = step
        if metrics is not None:
            self._metrics = metrics
        if first:
            self._measured = (now, step)
        self._marks.append((now, step))
        # Keep one mark older than the window, so that slow steps are measured too.
        while len(self._marks) > 2 and self._marks[1][0] <= now - _WINDOW:
            self._marks.popleft()
        if first or now - self._shown >= self._interval:
            self._shown = now
            self._draw()

    def close(self) -> None:
        """Shows the last step, the time taken and the mean rates. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        if self._live:
            self._draw()
            self._live.stop()
        done = self._step - self._initial
        line = f'{done:,} steps in {duration(self._clock() - self._start)}'
        if self._measured and self._marks[-1][0] > self._measured[0]:
            now, step = self._marks[-1]
            rate = (step - self._measured[1]) / (now - self._measured[0])
            line += f', {_rate(rate)} steps/s, {_rate(rate * self._batch_size)} images/s'
        print(line, file=self._file, flush=True)

    def _where(self) -> str:
        if self._seconds_left is not None:
            return f'step {self._step:,}'
        share = self._step / self._total if self._total else 1.0
        return f'step {self._step:,}/{self._total:,} {math.floor(100 * share)}%'

    def _times(self) -> str:
        text = f'{duration(self._clock() - self._start)} elapsed'
        left = self._left()
        return text if left is None else f'{text}, {duration(left)} left'

    def _left(self) -> float | None:
        """Seconds to the end; None while they are not known."""
        rate = self.steps_per_second
        ends = [(self._total - self._step) / rate] if rate > 0 else []
        if self._seconds_left is not None:
            ends.append(self._seconds_left())
        return max(0.0, min(ends)) if ends else None

    def _share(self) -> float:
        """The finished share, 0 to 1."""
        if self._seconds_left is None:
            return self._step / max(1, self._total)
        elapsed = self._clock() - self._start
        return elapsed / max(elapsed + (self._left() or 0.0), 1e-9)

    def _numbers(self) -> str:
        parts = []
        if self.steps_per_second > 0:
            parts.append(f'{_rate(self.steps_per_second)} steps/s')
            parts.append(f'{_rate(self.images_per_second)} images/s')
        for name, value in self._metrics.items():
            text = value if isinstance(value, str) else f'{float(np.asarray(value).item()):.4g}'
            parts.append(f'{name} {text}')
        return '  '.join(parts)

    def _draw(self) -> None:
        if self._live:
            self._live.update(_bar(self), refresh=True)
        else:
            parts = (self._where(), self._numbers(), self._times())
            print('  '.join(filter(None, parts)), file=self._file, flush=True)


def duration(seconds: float) -> str:
    """`0:07`, `12:34`, `1:02:03` or `2 d 1:02:03`."""
    seconds = max(0, round(seconds))
    days, seconds = divmod(seconds, 86_400)
    hours, seconds = divmod(seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    clock = f'{hours}:{minutes:02}:{seconds:02}' if hours or days else f'{minutes}:{seconds:02}'
    return f'{days} d {clock}' if days else clock


def _rate(value: float) -> str:
    return f'{value:,.0f}' if value >= 100 else f'{value:.3g}'


def _live(file: TextIO):
    """A started rich display, or None on a terminal that cannot redraw a line."""
    from rich.console import Console
    from rich.live import Live

    console = Console(file=file, highlight=False)
    if console.is_dumb_terminal:
        return None
    # update() alone redraws it: a thread of its own would read device arrays at any moment.
    live = Live(console=console, auto_refresh=False)
    live.start()
    return live


def _bar(progress: Progress):
    """The bar between its place and times, with the numbers below."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(no_wrap=True)
    row.add_column(ratio=1)
    row.add_column(no_wrap=True)
    bar = ProgressBar(total=1.0, completed=progress._share())
    row.add_row(progress._where(), bar, progress._times())
    return Group(row, Text(progress._numbers(), style='cyan'))
