"""One file per figure. Each has `measure(long)` and returns rows for the table."""

from dataclasses import dataclass, field


@dataclass
class Row:
    """One line of the table.

    `value` is what the aim is about: a ratio or a plain figure; `better` says which way is better. A row without
    bounds is there to be watched.
    """

    figure: str
    larder: str
    peer: str
    value: float
    unit: str
    at_least: float | None = None
    aim: float | None = None
    better: str = "higher"
    detail: dict = field(default_factory=dict)

    def meets(self, bound):
        """Whether a bound is reached; whatever has no bound reaches it."""
        if bound is None:
            return True
        return self.value >= bound if self.better == "higher" else self.value <= bound
