"""Classifiers in PyTorch, with the names that published state dicts have."""

import torch
from torch import nn


def _conv(before, after, size, stride=1):
    return nn.Conv2d(before, after, size, stride, size // 2, bias=False)


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or a bottleneck with the stride in the middle."""

    def __init__(self, before, width, stride, bottleneck, shortcut):
        super().__init__()
        after = width * (4 if bottleneck else 1)
        sizes = [(before, width, 1), (width, width, 3), (width, after, 1)]
        sizes = sizes if bottleneck else [(before, width, 3), (width, after, 3)]
        self.count, self.name = len(sizes), shortcut
        for index, (left, right, size) in enumerate(sizes, 1):
            own = stride if index == self.count - 1 else 1
            setattr(self, f'conv{index}', _conv(left, right, size, own))
            setattr(self, f'bn{index}', nn.BatchNorm2d(right))
        if stride > 1 or before != after:
            layers = nn.Sequential(_conv(before, after, 1, stride), nn.BatchNorm2d(after))
            setattr(self, shortcut, layers)

    def forward(self, x):
        y = x
        for index in range(1, self.count + 1):
            y = getattr(self, f'bn{index}')(getattr(self, f'conv{index}')(y))
            y = y.relu() if index < self.count else y
        return (y + (getattr(self, self.name)(x) if hasattr(self, self.name) else x)).relu()


class ResNet(nn.Module):
    def __init__(self, blocks, classes, *, large, bottleneck, shortcut, head):
        super().__init__()
        self.conv1 = _conv(3, 64, 7, 2) if large else _conv(3, 64, 3)
        self.bn1 = nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        before, self.head = 64, head
        for stage, count in enumerate(blocks):
            layers = []
            for index in range(count):
                stride = 2 if stage and not index else 1
                layers.append(Block(before, 64 * 2**stage, stride, bottleneck, shortcut))
                before = 64 * 2**stage * (4 if bottleneck else 1)
            setattr(self, f'layer{stage + 1}', nn.Sequential(*layers))
        setattr(self, head, nn.Linear(before, classes))

    def forward(self, x):
        x = self.pool(self.bn1(self.conv1(x)).relu())
        for stage in range(1, 5):
            x = getattr(self, f'layer{stage}')(x)
        return getattr(self, self.head)(x.mean((2, 3)))


class WideBlock(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(before), _conv(before, after, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(after), _conv(after, after, 3)
        self.convShortcut = None if before == after else _conv(before, after, 1, stride)

    def forward(self, x):
        active = self.bn1(x).relu()
        y = self.conv2(self.bn2(self.conv1(active)).relu())
        return y + (x if self.convShortcut is None else self.convShortcut(active))


class Stage(nn.Module):
    def __init__(self, count, before, after, stride):
        super().__init__()
        sizes = [(before, after, stride)] + [(after, after, 1)] * (count - 1)
        self.layer = nn.Sequential(*(WideBlock(*each) for each in sizes))

    def forward(self, x):
        return self.layer(x)


class WideResNet(nn.Module):
    def __init__(self, depth, widening, classes):
        super().__init__()
        widths = [16, 16 * widening, 32 * widening, 64 * widening]
        self.conv1 = _conv(3, 16, 3)
        for index in range(3):
            stage = Stage((depth - 4) // 6, *widths[index : index + 2], 2 if index else 1)
            setattr(self, f'block{index + 1}', stage)
        self.bn1, self.fc = nn.BatchNorm2d(widths[3]), nn.Linear(widths[3], classes)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(self.bn1(x).relu().mean((2, 3)))


class LeNet(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.conv3 = nn.Conv2d(16, 120, 5)
        self.fc1, self.fc2 = nn.Linear(120, 84), nn.Linear(84, classes)

    def forward(self, x):
        for layer in (self.conv1, self.conv2):
            x = nn.functional.max_pool2d(layer(x).relu(), 2)
        return self.fc2(self.fc1(self.conv3(x).relu().flatten(1)).relu())


def make(name, classes=10):
    """A classifier in inference mode, its BatchNorm's numbers other than at the start."""
    torch.manual_seed(0)
    resnet = lambda *blocks, **options: ResNet(blocks, classes, **options)  # noqa: E731
    kuangliu = {'large': False, 'bottleneck': False, 'shortcut': 'shortcut', 'head': 'linear'}
    torchvision = {'large': True, 'bottleneck': False, 'shortcut': 'downsample', 'head': 'fc'}
    module = {
        'resnet18': lambda: resnet(2, 2, 2, 2, **kuangliu),
        'resnet34': lambda: resnet(3, 4, 6, 3, **{**torchvision, 'large': False}),
        'resnet18_imagenet': lambda: resnet(2, 2, 2, 2, **torchvision),
        'resnet50_imagenet': lambda: resnet(3, 4, 6, 3, **{**torchvision, 'bottleneck': True}),
        'wrn16_1': lambda: WideResNet(16, 1, classes),
        'wrn16_2': lambda: WideResNet(16, 2, classes),
        'lenet5': lambda: LeNet(classes),
    }[name]()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor, least, most in (
                (layer.running_mean, -0.2, 0.2),
                (layer.running_var, 0.5, 1.5),
                (layer.weight.data, 0.5, 1.5),
                (layer.bias.data, -0.2, 0.2),
            ):
                tensor.uniform_(least, most)
    return module.eval()


def logits(module, images):
    """Logits `[N, K]` of images `[N, H, W, C]`, NumPy's."""
    with torch.no_grad():
        return module(torch.tensor(images).permute(0, 3, 1, 2)).numpy()
