"""One file per figure. Each has `measure(long)` and returns rows for the table."""

from dataclasses import dataclass, field


@dataclass
class Row:
    """One line of the table.

    `value` is what the aim is about: a ratio or a plain figure; `better` says which way is better.
    """

    figure: str
    larder: str
    peer: str
    value: float
    unit: str
    at_least: float
    aim: float
    better: str = "higher"
    detail: dict = field(default_factory=dict)

    def meets(self, bound):
        return self.value >= bound if self.better == "higher" else self.value <= bound
