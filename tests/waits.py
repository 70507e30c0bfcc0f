"""Counts, on a CPU too, the calls for which the program would wait for a GPU."""

from torch import Tensor, uint8
from torch import bool as truth
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# Their result is a Python value, or has a shape that hangs on values.
OF_UNKNOWN_SHAPE = {
    "_local_scalar_dense", "_unique", "_unique2", "bincount", "equal", "is_nonzero", "masked_select", "nonzero",
    "unique_consecutive", "unique_dim",
}  # fmt: skip
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
# Of a tensor that lies here already these reach no kernel, so that only a call of Python's tells of them.
TO_THIS_MACHINE = {Tensor.tolist, Tensor.numpy, Tensor.cpu}


class Waits(TorchDispatchMode):
    """The calls within a `with`, by name.

    Not for inference mode, which hides what a call is made of. What it cannot see on a CPU: a copy to a GPU out of
    memory that is not pinned, as `torch.tensor([...])` makes one.
    """

    def __init__(self):
        super().__init__()
        self.calls = []
        self.of_python = _OfPython(self.calls)

    def __enter__(self):
        self.of_python.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.of_python.__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.removeprefix("aten::")
        by_mask = name in INDEXING and any(part is not None and part.dtype in (truth, uint8) for part in args[1])
        repeats = name == "repeat_interleave" and (kwargs or {}).get("output_size") is None
        if name in OF_UNKNOWN_SHAPE or by_mask or repeats:
            self.calls.append(f"{name} by a mask" if by_mask else name)
        return function(*args, **(kwargs or {}))


class _OfPython(TorchFunctionMode):
    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in TO_THIS_MACHINE:
            self.calls.append(function.__name__)
        return function(*args, **(kwargs or {}))
