"""Tables as plain text."""

from __future__ import annotations

from collections.abc import Sequence

from auctionlab.evaluation.comparison import Estimate


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side: the first to the left, the others to the right."""
    lines = [list(headers), *[list(row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def percent(estimate: Estimate) -> str:
    """A gain in percent with its 95 % interval, as "+12.3 [+10.1, +14.0]"; the mean alone for one seed."""
    if estimate.count == 1:
        return f"{estimate.mean:+.1f}"
    return f"{estimate.mean:+.1f} [{estimate.low:+.1f}, {estimate.high:+.1f}]"


def interval(estimate: Estimate | None, digits: int = 2) -> str:
    """A number with its 95 % interval, as "0.80 [0.79, 0.81]"; the mean alone for one seed, "-" for none."""
    if estimate is None:
        return "-"
    if estimate.count == 1:
        return f"{estimate.mean:.{digits}f}"
    return f"{estimate.mean:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
