"""Many names in little memory."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

# Names of files may hold what is not text; this keeps it.
_ENCODING = ('utf-8', 'surrogatepass')


class Names(Sequence[str]):
    """Names as bytes end to end: a third of what a tuple of them takes, and pickled as arrays.

    Attributes:
      joined: `[B]` uint8, all names.
      ends: `[M]` int64, where each of them ends.
    """

    def __init__(self, joined: np.ndarray, ends: np.ndarray):
        self.joined = joined
        self.ends = ends

    @classmethod
    def of(cls, names: Iterable[str]) -> 'Names':
        """Makes them of texts."""
        encoded = [name.encode(*_ENCODING) for name in names]
        ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), dtype=np.int64)
        return cls(np.frombuffer(b''.join(encoded), np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        position = range(len(self.ends))[index]
        start = self.ends[position - 1] if position else 0
        return self.joined[start : self.ends[position]].tobytes().decode(*_ENCODING)

    def __iter__(self) -> Iterator[str]:
        whole, start = self.joined.tobytes(), 0
        for end in self.ends.tolist():
            yield whole[start:end].decode(*_ENCODING)
            start = end

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Names)
            and np.array_equal(self.ends, other.ends)
            and np.array_equal(self.joined, other.joined)
        )

    __hash__ = None
