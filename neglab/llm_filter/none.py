"""No filter."""

import torch

from neglab.llm_filter.base import LabelFilter
from neglab.types import FilterResult, LabelSet, TextEncoder


class NoneFilter(LabelFilter):
    """Keeps every negative label as it is."""

    def apply(self, negatives: LabelSet, id_labels: LabelSet, encoder: TextEncoder) -> FilterResult:
        return FilterResult(torch.arange(len(negatives)), negatives.names)
