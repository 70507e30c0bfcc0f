"""What hangs on where a tensor lies: how much is held at once, and how a choice gets there."""

from jaxtyping import Bool, Int
from torch import Tensor, cuda, device

GPU_SHARE = 64  # of a GPU's memory, for a chunk of 64 MiB on a CPU
CPU_BYTES = 64 * 2**20


def rows_at_once(like: Tensor, width: int, elements: int, block: int = 1) -> int:
    """Rows of one chunk.

    A CPU's chunk stays near its caches; a GPU's is larger, since small ones leave most of its cores idle. The whole
    memory counts and not the free part: equal chunks give equal bits in every run, and nothing waits for an answer.

    Args:
        like: a tensor where the product will lie.
        width: elements of a row.
        elements: of a chunk on a CPU.
        block: rows come in multiples of it.
    """
    return max(1, _elements_at_once(elements, like.device) // (max(1, width) * block)) * block


def places(chosen: Bool[Tensor, " N"], where: device) -> Int[Tensor, " K"]:
    """The chosen positions, to index with on another device.

    Args:
        chosen: on the CPU. On a GPU each use of a mask as an index waits until its number is known.
        where: they are needed.
    """
    return chosen.nonzero().flatten().to(where, non_blocking=True)


def _elements_at_once(elements: int, place: device) -> int:
    if place.type != "cuda":
        return elements
    memory: int = cuda.get_device_properties(place).total_memory
    return max(elements, elements * memory // (GPU_SHARE * CPU_BYTES))
