"""In which numbers, and in which order in memory, the towers work."""

import logging
from functools import cache

import torch
from torch import nn

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

logger = logging.getLogger(__name__)


@cache  # said once in each process
def warn_of_half_precision_on_a_cpu(precision: str) -> None:
    logger.warning(
        "backbone.precision=%s on a CPU often takes ten times as long as fp32 there, and gains nothing. Take "
        "backbone.precision=fp32, or a GPU.",
        precision,
    )


def memory_format(image_tower: nn.Module, device: torch.device) -> torch.memory_format:
    """Channels last for a convolutional tower on a GPU, whose kernels want it; patches alone are one convolution."""
    num_convolutions = sum(isinstance(part, nn.Conv2d) for part in image_tower.modules())
    return torch.channels_last if device.type == "cuda" and num_convolutions > 1 else torch.contiguous_format
