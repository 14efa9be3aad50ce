"""The files of a suite: its plan, and one for each case, each replaced whole."""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from osgan_jax.io import atomic, messages

Save = Callable[[list[dict[str, Any]]], None]

PLAN = 'plan.json'
NOT_RUN = 'not run'
# `running` is left by what was killed from outside.
STATUSES = ('done', 'running', 'out of memory', 'timed out', 'died', 'failed', 'skipped', NOT_RUN)


class Store:
    """A directory of results that can be read at any time, also after a kill.

    Attributes:
      directory: `plan.json`, and `cases/NAME.json` for every case that was begun.
    """

    def __init__(self, directory: str | pathlib.Path):
        self.directory = pathlib.Path(directory)

    def start(self, plan: Mapping[str, Any]) -> None:
        """Writes the plan and removes the results of an earlier suite.

        Args:
          plan: `date`, `command`, `scale`, `budget` and `cases`, as JSON has them.
        """
        for old in (self.directory / 'cases').glob('*.json'):
            old.unlink()
        self._write(self.directory / PLAN, plan)

    def amend(self, **values: Any) -> None:
        """Adds to the plan."""
        self._write(self.directory / PLAN, {**self.plan(), **values})

    def write(self, name: str, result: Mapping[str, Any]) -> None:
        """Replaces a case's result."""
        self._write(self._of(name), result)

    def settle(self, name: str, status: str, reason: str = '', **values: Any) -> None:
        """Sets a case's status and keeps the rows that it has."""
        result = self.read(name)
        self.write(name, {**result, 'status': status, 'reason': reason, **values})

    def plan(self) -> dict[str, Any]:
        """The plan.

        Raises:
          ValueError: if the directory has none.
        """
        path = self.directory / PLAN
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise ValueError(
                f'{path}: {messages.reason(error)}; expected the directory that '
                '--suite=accelerator --out=DIR wrote'
            ) from error

    def read(self, name: str) -> dict[str, Any]:
        """A case's result; one that says 'not run' where there is none."""
        try:
            return json.loads(self._of(name).read_text())
        except FileNotFoundError:
            return {'status': NOT_RUN, 'reason': '', 'rows': []}

    def results(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Every case of the plan with its result, in the plan's order."""
        return [(case, self.read(case['name'])) for case in self.plan()['cases']]

    def _of(self, name: str) -> pathlib.Path:
        return self.directory / 'cases' / f'{name}.json'

    def _write(self, path: pathlib.Path, body: Mapping[str, Any]) -> None:
        with atomic.replacing(path) as file:
            file.write((json.dumps(body, indent=1) + '\n').encode())
