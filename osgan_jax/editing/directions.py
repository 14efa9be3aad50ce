"""Directions along which one attribute of an image changes, as in InterFaceGAN.

Shen et al. 2020 (https://arxiv.org/abs/2005.09635) separate latents whose images have an attribute
from those whose images do not by a linear classifier; its unit normal is the direction. Removing
the part along another direction keeps what that one changes ("conditional").
"""

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from osgan_jax.io import checked_npz

_KIND, _VERSION = 'direction of an edit', 1

# Weights of a sample's loss, of which the best by cross-validation is taken: with labels that are
# certain the largest came nearest to a known direction, with doubtful ones and few samples the
# smallest, with cosines of 0.99 against 0.81 and of 0.78 against 0.45.
_SAMPLE_WEIGHTS = (1e-3, 1e-2, 1e-1, 1.0)
_FOLDS = 4
_HELD_OUT = 5  # one of so many samples is not fitted but predicted
_LEAST = 5  # samples a side: one is held out, one in each fold
# The length below which a direction lies along others, but for rounding.
_NOTHING = 1e-4


@dataclasses.dataclass(frozen=True)
class Direction:
    """A direction in a generator's latent space.

    Attributes:
      normal: unit vector `[D]`, float32.
      deviation: standard deviation of the latents along it, the unit of strengths.
      space: 'w' or 'z'.
      about: how it was found, JSON for people.
    """

    normal: np.ndarray
    deviation: float
    space: str
    about: dict[str, Any] = dataclasses.field(default_factory=dict)

    def moved(self, codes: np.ndarray, strengths: Sequence[float]) -> np.ndarray:
        """Points `[R, S, ..., D]`: each of `[R, ..., D]` moved by so many standard deviations."""
        codes = np.asarray(codes)
        steps = self.deviation * np.asarray(strengths, np.float32)
        return codes[:, None] + steps.reshape(-1, *[1] * (codes.ndim - 1)) * self.normal

    def without(self, others: Sequence['Direction'], codes: np.ndarray) -> 'Direction':
        """The direction without its parts along others.

        Args:
          others: at least one.
          codes: latents `[N, D]`, for the deviation along the result.

        Raises:
          ValueError: if nothing is left.
        """
        normals = np.stack([other.normal for other in others], axis=1).astype(np.float64)
        # An orthonormal basis: others need not be orthogonal to each other.
        basis, sizes, _ = np.linalg.svd(normals, full_matrices=False)
        basis = basis[:, sizes > _NOTHING]
        rest = self.normal - basis @ (basis.T @ self.normal)
        length = np.linalg.norm(rest)
        if length < _NOTHING:
            raise ValueError(
                'no direction remains: the direction lies in the span of those to which it must '
                'be orthogonal'
            )
        normal = (rest / length).astype(np.float32)
        about = {**self.about, 'orthogonal_to': len(others)}
        return Direction(normal, _deviation(codes, normal), self.space, about)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes an .npz file of arrays: normal, deviation, and about as JSON text."""
        arrays = {'normal': self.normal, 'deviation': np.float64(self.deviation)}
        checked_npz.write(path, _KIND, _VERSION, {**self.about, 'space': self.space}, arrays)


def load(path: str | os.PathLike[str], space: str, size: int) -> Direction:
    """Reads a direction that `Direction.save` wrote.

    Args:
      path: the file.
      space: the space of the generator it is for.
      size: D of that space.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is damaged, something else, or a direction in another space.
    """
    about, arrays = checked_npz.read(path, _KIND, _VERSION)
    about = dict(about)
    found, normal = about.pop('space'), arrays['normal']
    if found != space or normal.shape != (size,):
        raise ValueError(
            f'{path} holds a direction of {normal.size} numbers in {found}, but this run has '
            f'{size} in {space}: use a direction that was found in this run'
        )
    return Direction(normal, float(arrays['deviation']), space, about)


def fit(codes: np.ndarray, positive: np.ndarray, space: str, *, seed: int = 0) -> Direction:
    """Finds the direction from latents of one kind to latents of another.

    A linear support vector machine is fitted to four fifths of the samples of each kind, both kinds
    counting the same, and tested on the others. Cross-validation among the four fifths decides how
    strongly it is regularized: 4 s for 2,000 samples of 512 numbers.

    Args:
      codes: latents `[N, D]`.
      positive: `[N]`, whether a sample is of the kind that the direction leads to.
      space: 'w' or 'z'.
      seed: which samples are held out.

    Returns:
      The direction; `about` has accuracy (balanced: the mean of both kinds' shares of held-out
      samples that are predicted correctly, 0.5 by chance), held_out and num_samples.

    Raises:
      ValueError: for fewer than 5 samples of a kind, or numbers that are not finite.
    """
    from sklearn import model_selection, svm

    codes = np.asarray(codes, np.float64)
    positive = np.asarray(positive, bool)
    if not np.isfinite(codes).all():
        raise ValueError('latents are not all finite: has the run diverged?')
    counts = [int(positive.sum()), int((~positive).sum())]
    if min(counts) < _LEAST:
        raise ValueError(
            f'{counts[0]} samples have the requested label and {counts[1]} do not: at least '
            f'{_LEAST} of each are needed'
        )
    rng = np.random.default_rng(seed)
    held = np.zeros(len(codes), bool)
    for side in (positive, ~positive):
        members = rng.permutation(np.flatnonzero(side))
        held[members[: math.ceil(len(members) / _HELD_OUT)]] = True
    # One scale for all numbers: angles stay as they are.
    centred = codes - codes[~held].mean(0)
    centred /= max(centred[~held].std(), np.finfo(np.float64).tiny)
    search = model_selection.GridSearchCV(
        svm.LinearSVC(dual=False, class_weight='balanced', max_iter=10_000),
        {'C': _SAMPLE_WEIGHTS},
        scoring='balanced_accuracy',
        cv=model_selection.StratifiedKFold(_FOLDS),
    )
    machine = search.fit(centred[~held], positive[~held]).best_estimator_
    length = np.linalg.norm(machine.coef_[0])
    if not length > 0:
        raise ValueError(
            'the labels do not depend on the latents: no direction separates the two labels'
        )
    right = machine.predict(centred[held]) == positive[held]
    accuracy = np.mean([right[positive[held]].mean(), right[~positive[held]].mean()])
    normal = (machine.coef_[0] / length).astype(np.float32)
    about = {
        'accuracy': float(accuracy),
        'held_out': int(held.sum()),
        'num_samples': len(codes),
    }
    return Direction(normal, _deviation(codes, normal), space, about)


def _deviation(codes: np.ndarray, normal: np.ndarray) -> float:
    return float(np.std(np.asarray(codes, np.float64) @ normal))
