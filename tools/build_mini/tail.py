"""The last blocks of EfficientNet-Lite0, written so that a CPU trains them twice as fast.

Frozen norms are folded into their convolutions, maps are [B, HW, C], and a 5 x 5 depthwise filter is one small matrix
over positions per channel, whose gradient is a batched product.
"""

import torch
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, pad, relu6

PARTS = (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3"))


def folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight [out, in x k x k] and bias [out] of both together."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    weight = convolution.weight.flatten(1) * scale[:, None]
    return weight.detach().clone(), (norm.bias - norm.running_mean * scale).detach().clone()


def unfold(convolution: nn.Conv2d, norm: nn.BatchNorm2d, weight: Tensor, bias: Tensor) -> None:
    """Back into timm's form: the norm adds the bias and does nothing else."""
    convolution.weight.data = weight.view_as(convolution.weight).clone()
    norm.weight.data.fill_(1)
    norm.bias.data.copy_(bias)
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)


class Block(nn.Module):
    """An inverted residual of a map of `side` x `side`."""

    def __init__(self, block: nn.Module, side: int) -> None:
        super().__init__()
        depthwise = block.conv_dw
        self.side, self.kernel, self.stride = side, depthwise.kernel_size[0], depthwise.stride[0]
        self.skip = block.has_skip
        for i, (convolution, norm) in enumerate(PARTS):
            weight, bias = folded(getattr(block, convolution), getattr(block, norm))
            setattr(self, f"weight{i}", nn.Parameter(weight))
            setattr(self, f"bias{i}", nn.Parameter(bias))
        self.register_buffer("places", places(side, self.kernel), persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        wide = relu6(linear(hidden, self.weight0, self.bias0))
        if self.stride == 1 and self.kernel == 5:
            matrices = pad(self.weight1, (0, 1))[:, self.places]
            filtered = torch.bmm(matrices, wide.permute(2, 1, 0)).permute(2, 1, 0)
        else:
            count, _, channels = wide.shape
            image = wide.reshape(count, self.side, self.side, channels).permute(0, 3, 1, 2)
            before = (self.kernel - self.stride) // 2  # as TensorFlow pads
            after = self.kernel - self.stride - before
            kernels = self.weight1.view(channels, 1, self.kernel, self.kernel)
            image = conv2d(pad(image, (before, after) * 2), kernels, stride=self.stride, groups=channels)
            filtered = image.permute(0, 2, 3, 1).flatten(1, 2)
        narrow = linear(relu6(filtered + self.bias1), self.weight2, self.bias2)
        return hidden + narrow if self.skip else narrow


class Tail(nn.Module):
    """Maps [B, C, H, W] before block `first` to pooled features [B, 1280]."""

    def __init__(self, network: EfficientNet, first: int, side: int) -> None:
        super().__init__()
        blocks = []
        for block in (block for stage in network.blocks[first:] for block in stage):
            blocks.append(Block(block, side))
            side //= blocks[-1].stride
        self.blocks = nn.ModuleList(blocks)
        weight, bias = folded(network.conv_head, network.bn2)
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, maps: Tensor) -> Tensor:
        hidden = maps.permute(0, 2, 3, 1).flatten(1, 2)
        for block in self.blocks:
            hidden = block(hidden)
        return relu6(linear(hidden, self.weight, self.bias)).mean(dim=1)

    @torch.no_grad()
    def write_into(self, network: EfficientNet, first: int) -> None:
        """What was trained, into timm's network."""
        theirs = [block for stage in network.blocks[first:] for block in stage]
        for ours, block in zip(self.blocks, theirs, strict=True):
            for i, (convolution, norm) in enumerate(PARTS):
                weight, bias = getattr(ours, f"weight{i}"), getattr(ours, f"bias{i}")
                unfold(getattr(block, convolution), getattr(block, norm), weight, bias)
        unfold(network.conv_head, network.bn2, self.weight, self.bias)


def places(side: int, kernel: int) -> Tensor:
    """[HW, HW]: the element of a filter of stride 1 that leads from input to output position; past its end for none."""
    offset = torch.arange(side)[None] - torch.arange(side)[:, None] + kernel // 2
    inside, offset = (offset >= 0) & (offset < kernel), offset.clamp(0, kernel - 1)
    element = offset[:, None, :, None] * kernel + offset[None, :, None, :]
    known = inside[:, None, :, None] & inside[None, :, None, :]
    return torch.where(known, element, kernel * kernel).reshape(side * side, side * side)
