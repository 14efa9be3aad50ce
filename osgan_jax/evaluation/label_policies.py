"""Which labels a conditional generator is given where it is scored.

Training draws labels as often as they occur in the data. A generator that is scored on others makes
another mixture of classes than the real images it is compared with: one that is perfect, of two
classes of 90 and 10 per cent, then has a distance of 164 rather than 0.7.
"""

from collections.abc import Iterable

POLICIES = ('data', 'uniform')


def frequencies(policy: str, num_classes: int, class_counts: Iterable[int]) -> list[float] | None:
    """How often each label is drawn, a number a class; None for all as often, or no labels.

    Args:
      policy: 'data' or 'uniform'.
      num_classes: of the generator, 0 without labels.
      class_counts: images of each class in the dataset; none without labels.

    Raises:
      ValueError: for an unknown policy, or data without these classes.
    """
    counts = [float(count) for count in class_counts]
    check(policy, num_classes, len(counts) if any(counts) else 0)
    return counts if num_classes and policy == 'data' else None


def check(policy: str, num_classes: int, known: int) -> None:
    """Checks that labels of a generator can be drawn, before anything is read or drawn.

    Args:
      policy: 'data' or 'uniform'.
      num_classes: of the generator, 0 without labels.
      known: classes of the dataset, 0 without labels.

    Raises:
      ValueError: for an unknown policy, or labels that are to follow data without these classes.
    """
    if policy not in POLICIES:
        raise ValueError(f'label_policy={policy!r}: expected one of {", ".join(POLICIES)}')
    if policy == 'data' and num_classes and known != num_classes:
        raise ValueError(
            f'the generator was trained with {num_classes} classes and the dataset has {known}, '
            'so labels cannot follow the data: give the dataset that it was trained on, or draw '
            'all labels equally often with --label_policy=uniform'
        )


def recorded(policy: str, num_classes: int) -> str | None:
    """The policy as records have it: None for a generator without labels."""
    return policy if num_classes else None
