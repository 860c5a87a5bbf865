"""The architectures of src/models in PyTorch, module names and order those of kuangliu/pytorch-cifar."""

import torch
from torch import nn
from torch.nn import functional

RESNETS = {
    "resnet18": ("basic", [2, 2, 2, 2], 64),
    "resnet34": ("basic", [3, 4, 6, 3], 64),
    "resnet50": ("bottleneck", [3, 4, 6, 3], 64),
    "resnet101": ("bottleneck", [3, 4, 23, 3], 64),
    "resnet8": ("basic", [1, 1, 1], 16),
    "resnet20": ("basic", [3, 3, 3], 16),
}
VGG19 = [64, 64, "pool", 128, 128, "pool", *[256] * 4, "pool", *[512] * 4, "pool", *[512] * 4, "pool"]
EXPANSION = 4


def scaled(channels, width):
    # Half is rounded up, as in JavaScript.
    return max(1, int(channels * width + 0.5))


def build(name, width, classes):
    if name == "vgg19":
        return VGG(width, classes)
    block, blocks, channels = RESNETS[name]
    return ResNet(BasicBlock if block == "basic" else Bottleneck, blocks, channels, width, classes)


def convolution(inputs, outputs, kernel, stride=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def shortcut(inputs, outputs, stride):
    if stride == 1 and inputs == outputs:
        return nn.Sequential()
    return nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    def __init__(self, inputs, filters, stride):
        super().__init__()
        self.outputs = filters
        self.conv1, self.bn1 = convolution(inputs, filters, 3, stride), nn.BatchNorm2d(filters)
        self.conv2, self.bn2 = convolution(filters, filters, 3), nn.BatchNorm2d(filters)
        self.shortcut = shortcut(inputs, filters, stride)

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return functional.relu(y + self.shortcut(x))


class Bottleneck(nn.Module):
    def __init__(self, inputs, filters, stride):
        super().__init__()
        self.outputs = outputs = filters * EXPANSION
        self.conv1, self.bn1 = convolution(inputs, filters, 1), nn.BatchNorm2d(filters)
        self.conv2, self.bn2 = convolution(filters, filters, 3, stride), nn.BatchNorm2d(filters)
        self.conv3, self.bn3 = convolution(filters, outputs, 1), nn.BatchNorm2d(outputs)
        self.shortcut = shortcut(inputs, outputs, stride)

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return functional.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, block, blocks, channels, width, classes):
        super().__init__()
        inputs = scaled(channels, width)
        self.conv1, self.bn1 = convolution(3, inputs, 3), nn.BatchNorm2d(inputs)
        self.stages = len(blocks)
        for stage, count in enumerate(blocks):
            filters = scaled(channels * 2**stage, width)
            layers = []
            for i in range(count):
                layers.append(block(inputs, filters, 2 if stage > 0 and i == 0 else 1))
                inputs = layers[-1].outputs
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.linear(functional.avg_pool2d(x, x.shape[2]).flatten(1))


class VGG(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        layers, inputs = [], 3
        for channels in VGG19:
            if channels == "pool":
                layers.append(nn.MaxPool2d(2))
                continue
            outputs = scaled(channels, width)
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def parameter_count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def load_flat(model, flat, layout):
    """Sets parameters from a flat float32 tensor: convolutions lie there as O, kh, kw, I."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for entry in layout:
            parameter = parameters.pop(entry["name"])
            values = flat[entry["offset"] : entry["offset"] + parameter.numel()]
            parameter.copy_(_from_flat(values, parameter.shape))
    if parameters:
        raise ValueError(f"no values for {', '.join(parameters)}")


def flat_gradient(model, length, layout):
    flat = torch.zeros(length)
    parameters = dict(model.named_parameters())
    for entry in layout:
        gradient = parameters[entry["name"]].grad
        ordered = gradient.permute(0, 2, 3, 1) if gradient.dim() == 4 else gradient
        flat[entry["offset"] : entry["offset"] + gradient.numel()] = ordered.reshape(-1).to(flat)
    return flat


def _from_flat(values, shape):
    if len(shape) != 4:
        return values.reshape(shape)
    outputs, inputs, height, width = shape
    return values.reshape(outputs, height, width, inputs).permute(0, 3, 1, 2)
