"""The vision networks of the papers, in plain torch.

Every factory takes keywords only, checks them, sets standard initial weights and
returns a module in training mode, as torch does. All of them can be built under
``torch.device("meta")``. The state dicts of AlexNet, VGG, ResNet, DenseNet and
MobileNetV2 have torchvision's names, so its weights load, and the outputs are equal bit
for bit.
"""

from __future__ import annotations

from trimtab.zoo._alexnet import alexnet
from trimtab.zoo._densenet import densenet121
from trimtab.zoo._lenet import digits_cnn, lenet5
from trimtab.zoo._mobilenet import (
    mobilenet_v1,
    mobilenet_v1_cifar,
    mobilenet_v2,
    mobilenet_v2_cifar,
)
from trimtab.zoo._resnet import (
    resnet18,
    resnet18_cifar,
    resnet20_cifar,
    resnet50,
    resnet50_v2,
)
from trimtab.zoo._vgg import vgg16, vgg16_cifar, vgg19

__all__ = [
    "alexnet",
    "densenet121",
    "digits_cnn",
    "lenet5",
    "mobilenet_v1",
    "mobilenet_v1_cifar",
    "mobilenet_v2",
    "mobilenet_v2_cifar",
    "resnet18",
    "resnet18_cifar",
    "resnet20_cifar",
    "resnet50",
    "resnet50_v2",
    "vgg16",
    "vgg16_cifar",
    "vgg19",
]
