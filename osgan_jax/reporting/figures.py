"""Figures without a display: matplotlib's object interface chooses no global backend."""

import os
from typing import Any

from osgan_jax.io import atomic


def new_figure(size: tuple[float, float], dpi: int = 110) -> Any:
    """An empty figure of so many inches, and pixels an inch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=dpi, layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: str | os.PathLike[str]) -> None:
    """Writes a figure as PNG, atomically; the same figure gives the same bytes."""
    with atomic.replacing(path) as file:
        # No date or version in the file.
        figure.savefig(file, format='png', metadata={'Software': None})
