"""What the jobs of a sweep share of scoring the same images: products with rows of weights, and nearest classes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neglab.score.base import ROW_BLOCK
from neglab.types import LabelledEmbeddings

MOST_BYTES = 2**31  # of products that a sweep keeps in memory; what is beyond is multiplied again by each job


@dataclass(eq=False)
class Table:
    """Products of images with the same weights.

    Attributes:
        weights: [K, D].
        rows: by image set, [n, K], of as many of its images as there was room for.
        filled: by image set, how many rows have been written.
    """

    weights: Float[Tensor, "K D"]
    rows: dict[str, Float[Tensor, "_ K"]] = field(default_factory=dict)
    filled: dict[str, int] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        return sum(rows.nbytes for rows in self.rows.values())

    @cached_property
    def _places(self) -> dict[bytes, int]:
        return {row.tobytes(): place for place, row in enumerate(self.weights.numpy())}

    def view(self, weights: Float[Tensor, "M D"]) -> "View | None":
        """The products with these weights; None: not all of them are here."""
        if torch.equal(weights, self.weights):
            return View(weights, self, None)
        places = [self._places.get(row.tobytes(), -1) for row in weights.numpy()]
        return None if -1 in places else View(weights, self, torch.tensor(places))


@dataclass(eq=False)
class View:
    """What a job's weights find in a table.

    Attributes:
        weights: of the job.
        table: that has their products.
        columns: [M], where; None: the weights are the table's own.
        same: by the number of rows of a product, whether a new one is equal to the kept columns.
    """

    weights: Float[Tensor, "M D"]
    table: Table
    columns: Int[Tensor, " M"] | None
    same: dict[int, bool] = field(default_factory=dict)

    def of(self, rows: Float[Tensor, "R K"]) -> Float[Tensor, "R M"]:
        """What the job wants of the table's rows."""
        return rows if self.columns is None else rows.index_select(1, self.columns)


class KeptProducts:
    """Products of images with rows of weights, kept for the jobs to come; equal to the last bit to new ones.

    Weights are told by their content. A job with the weights of an earlier one takes its products as they are. One that
    wants some of them, or another order, takes columns: a matrix product rounds a column alike wherever it stands,
    unless it has but few. How it rounds depends on its shape alone, so that the first product of each shape is made and
    compared; where it differs, the job multiplies for itself. For one process on a CPU: a GPU multiplies in no time.

    Args:
        most: bytes of products held at a time. Tables that the job does not use make room, the oldest first; then the
            first images of a set are kept and the rest is not.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.most = most
        self.images: Mapping[str, LabelledEmbeddings] = {}
        self.tables: list[Table] = []
        self.views: dict[int, View] = {}
        self.classes: dict[tuple[str, int, int], Int[Tensor, " B"]] = {}

    def begin(self, images: Mapping[str, LabelledEmbeddings]) -> None:
        """Begin a job; what was made of other embeddings is let go."""
        if images is not self.images:
            self.images, self.tables, self.classes = images, [], {}
        self.views = {}

    def product(
        self, dataset: str, start: int, images: Float[Tensor, "R D"], weights: Float[Tensor, "M D"], row: int
    ) -> Float[Tensor, "R M"]:
        """`images @ weights.T`, not to be changed in place.

        Args:
            dataset: that the images are of.
            start: the place of the batch's first image there.
            images: unit norm. Rows that fill a block may follow the last.
            weights: of the job.
            row: the place of the first row in the batch.
        """
        view = self.views.get(id(weights)) or self._view(weights)
        first, table, count = start + row, view.table, len(images)
        kept = table.rows[dataset][first : first + count] if first + count <= table.filled.get(dataset, 0) else None
        if kept is not None and (view.columns is None or view.same.get(count, False)):
            return view.of(kept)
        product = images @ weights.T
        if kept is not None:
            view.same.setdefault(count, torch.equal(product, view.of(kept)))
        elif view.columns is None:
            self._keep(table, dataset, first, product)
        return product

    def nearest(
        self, dataset: str, start: int, images: Float[Tensor, "B D"], classes: Float[Tensor, "C D"]
    ) -> Int[Tensor, " B"]:
        """The most similar ID class; arguments as for `product`."""
        key = (dataset, start, len(images))
        if key not in self.classes:
            self.classes[key] = (images @ classes.T).argmax(dim=1)
        return self.classes[key]

    def _view(self, weights: Float[Tensor, "M D"]) -> View:
        view = next(filter(None, (table.view(weights) for table in self.tables)), None)
        if view is None:
            self.tables.append(Table(weights))
            view = View(weights, self.tables[-1], None)
        self.views[id(weights)] = view
        return view

    def _keep(self, table: Table, dataset: str, first: int, product: Float[Tensor, "R K"]) -> None:
        if dataset not in table.rows:
            wanted = len(self.images[dataset]) + ROW_BLOCK  # rows that fill a block may follow the last
            table.rows[dataset] = product.new_empty(min(wanted, self._room(wanted, product)), product.shape[1])
        rows, filled, end = table.rows[dataset], table.filled.get(dataset, 0), first + len(product)
        if first <= filled and end <= len(rows):
            rows[first:end], table.filled[dataset] = product, end

    def _room(self, wanted: int, product: Float[Tensor, "R K"]) -> int:
        """For how many rows of a product there is room, once tables that this job does not use have gone for them."""
        used = [view.table for view in self.views.values()]
        idle = [table for table in self.tables if table not in used]
        while (room := (self.most - sum(table.num_bytes for table in self.tables)) // product[0].nbytes) < wanted:
            if not idle:
                break
            self.tables.remove(idle.pop(0))
        return room
