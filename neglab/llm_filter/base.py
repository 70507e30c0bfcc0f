"""The contract of a label filter: it may drop, clean, merge and reorder the selected negatives."""

from abc import ABC, abstractmethod

from neglab.types import FilterResult, LabelSet, TextEncoder


class LabelFilter(ABC):
    """Judges negative labels by their meaning."""

    @abstractmethod
    def apply(self, negatives: LabelSet, id_labels: LabelSet, encoder: TextEncoder) -> FilterResult:
        """Which negatives go on, under which names, and why the others do not."""
