"""A confusion matrix as a page shows it: whole, or its largest cells."""

from __future__ import annotations

from collections.abc import Sequence


def heat(matrix: Sequence[Sequence[int]]) -> list[list[tuple[int, float]]]:
    """Return each cell as its count and its share of its row in percent."""
    return [[(n, 100 * n / max(1, sum(row))) for n in row] for row in matrix]


def pairs(matrix: Sequence[Sequence[int]], names: Sequence[str], most: int) -> list[tuple[str, str, int, float]]:
    """Return the most frequent confusions: the true name, the predicted one, how often, the share of the true one.

    Rows and columns after those with names are no confusions; they count in the share.
    """
    known = range(len(names))
    cells = ((matrix[t][p], t, p) for t in known for p in known if matrix[t][p] and t != p)
    worst = sorted(cells, key=lambda c: (-c[0], c[1], c[2]))[:most]
    return [(names[t], names[p], n, n / sum(matrix[t])) for n, t, p in worst]
