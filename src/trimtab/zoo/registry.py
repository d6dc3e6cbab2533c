"""The networks by name; over 400 lines since each has an entry.

What each one is, takes, and how many parameters it has.

Reading the registry does not import torch; building a network does.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, final

from trimtab.errors import NetworkNotFoundError, UsageError
from trimtab.frozen import FrozenDict

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Network", "network", "networks"]

_SEED: Final = 0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network of the zoo.

    Attributes:
        name: in ``zoo:NAME``.
        title: for people.
        factory: a callable, or ``package.module:function``, imported on use.
        input_shapes: of the inputs in order, without the batch dimension.
        parameters: trainable parameters of the network with default arguments.
        published_parameters: the number that the source prints.
        published_source: who prints it.
        counting: how the published number follows from `parameters`.
        presets: parameters by preset, for a recommendation network; the first is the
            default.
        preset: the one that was asked for, as in ``rmc1-small``; empty for the default.
    """

    name: str
    title: str
    factory: str | Callable[..., nn.Module]
    input_shapes: tuple[tuple[int, ...], ...]
    parameters: int
    published_parameters: int
    published_source: str
    counting: str = "trainable parameters"
    presets: Mapping[str, int] = field(default_factory=FrozenDict)
    preset: str = ""

    def load(self) -> Callable[..., nn.Module]:
        """Return the factory, imported if need be.

        Example:
            >>> network("lenet5").load().__name__
            'lenet5'
        """
        if not isinstance(self.factory, str):
            return self.factory
        module, _, attribute = self.factory.partition(":")
        factory: Callable[..., nn.Module] = getattr(
            importlib.import_module(module), attribute
        )
        return (
            functools.partial(factory, preset=self.preset) if self.preset else factory
        )

    def keywords(self) -> dict[str, inspect.Parameter]:
        """Return what `build` takes, with types and defaults.

        Example:
            >>> list(network("resnet50").keywords())
            ['num_classes', 'in_channels', 'width']
        """
        signature = inspect.signature(self.load(), eval_str=True)
        return dict(signature.parameters)

    def build(self, **arguments: object) -> nn.Module:
        """Build the network, in training mode as torch does.

        The initial weights come from torch's global generator. Under
        ``torch.device("meta")`` only shapes are made.

        Args:
            arguments: of the factory; see `keywords`.

        Returns:
            The module.

        Raises:
            UsageError: an argument that the factory does not have or refuses.

        Example:
            >>> network("lenet5").build(num_classes=3)(
            ...     *network("lenet5").example_inputs(batch=2)).shape
            torch.Size([2, 3])
        """
        allowed = self.keywords()
        unknown = [name for name in arguments if name not in allowed]
        if unknown:
            raise UsageError(
                f"{', '.join(unknown)} for the network {self.name}",
                rule="the factory has no such argument",
                where=f"zoo:{self.name}",
                remedy=f"use {', '.join(allowed)}",
            )
        return self.load()(**arguments)

    def example_inputs(
        self, batch: int = 1, *, in_channels: int | None = None
    ) -> tuple[Tensor, ...]:
        """Return random inputs on the CPU, the same at every call.

        Features are normally distributed, ids uniformly.

        Args:
            batch: number of samples.
            in_channels: channels instead of those of `input_shapes`, for a network that
                was built with this argument.

        Returns:
            Tensors (batch, *shape), one for each entry of `input_shapes`: int64 where
            the network takes ids, otherwise float32.

        Raises:
            UsageError: a batch below one.

        Example:
            >>> [tuple(x.shape) for x in network("resnet50").example_inputs()]
            [(1, 3, 224, 224)]
        """
        import torch

        if batch < 1:
            raise UsageError(
                f"batch {batch}", rule="it must be at least 1", remedy="give 1 or more"
            )
        if self.presets:
            from trimtab.zoo.preset import sizes
            from trimtab.zoo.queries import Queries

            preset = self.preset or next(iter(self.presets))
            inputs = sizes(self.name.partition("-")[0], preset).inputs
            draws = Queries(inputs, seed=_SEED, alpha=0.0)
            return tuple(torch.from_numpy(each) for each in draws.draw(batch))
        generator = torch.Generator(device="cpu").manual_seed(_SEED)
        shapes = self.input_shapes
        if in_channels is not None:
            shapes = tuple((in_channels, *shape[1:]) for shape in shapes)
        return tuple(
            torch.randn(batch, *shape, generator=generator, device="cpu")
            for shape in shapes
        )


_TORCHVISION: Final = "torchvision, models and pre-trained weights"
_KERAS: Final = "Keras Applications, table of available models"
_PYTORCH_CIFAR: Final = "kuangliu/pytorch-cifar, as torchsummary counts it"

_VISION: Final = (
    Network(
        name="alexnet",
        title="AlexNet (one tower)",
        factory="trimtab.zoo.vision:alexnet",
        input_shapes=((3, 224, 224),),
        parameters=61_100_840,
        published_parameters=61_100_840,
        published_source=_TORCHVISION,
    ),
    Network(
        name="densenet121",
        title="DenseNet-121",
        factory="trimtab.zoo.vision:densenet121",
        input_shapes=((3, 224, 224),),
        parameters=7_978_856,
        published_parameters=7_978_856,
        published_source=_TORCHVISION,
    ),
    Network(
        name="digits_cnn",
        title="Digits network of the demo",
        factory="trimtab.zoo.vision:digits_cnn",
        input_shapes=((1, 28, 28),),
        parameters=60_986,
        published_parameters=60_986,
        published_source="trimtab's own network",
    ),
    Network(
        name="lenet5",
        title="LeNet-5",
        factory="trimtab.zoo.vision:lenet5",
        input_shapes=((1, 32, 32),),
        parameters=61_706,
        published_parameters=61_706,
        published_source="widely printed for LeNet-5 with full third layer; LeCun et "
        "al. 1998 print 60,000 for their sparse one",
    ),
    Network(
        name="mobilenet_v1",
        title="MobileNet v1",
        factory="trimtab.zoo.vision:mobilenet_v1",
        input_shapes=((3, 224, 224),),
        parameters=4_231_976,
        published_parameters=4_253_864,
        published_source=_KERAS,
        counting="trainable parameters + 21,888 moving statistics",
    ),
    Network(
        name="mobilenet_v1_cifar",
        title="MobileNet v1 for CIFAR",
        factory="trimtab.zoo.vision:mobilenet_v1_cifar",
        input_shapes=((3, 32, 32),),
        parameters=3_217_226,
        published_parameters=3_217_226,
        published_source=_PYTORCH_CIFAR,
    ),
    Network(
        name="mobilenet_v2",
        title="MobileNetV2",
        factory="trimtab.zoo.vision:mobilenet_v2",
        input_shapes=((3, 224, 224),),
        parameters=3_504_872,
        published_parameters=3_504_872,
        published_source=_TORCHVISION,
    ),
    Network(
        name="mobilenet_v2_cifar",
        title="MobileNetV2 for CIFAR",
        factory="trimtab.zoo.vision:mobilenet_v2_cifar",
        input_shapes=((3, 32, 32),),
        parameters=2_236_682,
        published_parameters=2_236_682,
        published_source="torchvision's MobileNetV2 with 10 classes",
    ),
    Network(
        name="resnet18",
        title="ResNet-18",
        factory="trimtab.zoo.vision:resnet18",
        input_shapes=((3, 224, 224),),
        parameters=11_689_512,
        published_parameters=11_689_512,
        published_source=_TORCHVISION,
    ),
    Network(
        name="resnet18_cifar",
        title="ResNet-18 for CIFAR",
        factory="trimtab.zoo.vision:resnet18_cifar",
        input_shapes=((3, 32, 32),),
        parameters=11_173_962,
        published_parameters=11_173_962,
        published_source=_PYTORCH_CIFAR,
    ),
    Network(
        name="resnet20_cifar",
        title="ResNet-20 for CIFAR (option A)",
        factory="trimtab.zoo.vision:resnet20_cifar",
        input_shapes=((3, 32, 32),),
        parameters=269_722,
        published_parameters=269_722,
        published_source="widely printed for option A; He et al. 2015 print 0.27 "
        "million in table 6",
    ),
    Network(
        name="resnet50",
        title="ResNet-50",
        factory="trimtab.zoo.vision:resnet50",
        input_shapes=((3, 224, 224),),
        parameters=25_557_032,
        published_parameters=25_557_032,
        published_source=_TORCHVISION,
    ),
    Network(
        name="resnet50_v2",
        title="ResNet-50 v2 (pre-activation)",
        factory="trimtab.zoo.vision:resnet50_v2",
        input_shapes=((3, 224, 224),),
        parameters=25_549_352,
        published_parameters=25_613_800,
        published_source=_KERAS,
        counting="trainable parameters + 45,440 moving statistics + 19,008 biases of "
        "convolutions that Keras has and this network leaves out",
    ),
    Network(
        name="vgg16",
        title="VGG-16",
        factory="trimtab.zoo.vision:vgg16",
        input_shapes=((3, 224, 224),),
        parameters=138_357_544,
        published_parameters=138_357_544,
        published_source=_TORCHVISION,
    ),
    Network(
        name="vgg16_cifar",
        title="VGG-16 for CIFAR (batch normalisation)",
        factory="trimtab.zoo.vision:vgg16_cifar",
        input_shapes=((3, 32, 32),),
        parameters=14_728_266,
        published_parameters=14_728_266,
        published_source=_PYTORCH_CIFAR,
    ),
    Network(
        name="vgg19",
        title="VGG-19",
        factory="trimtab.zoo.vision:vgg19",
        input_shapes=((3, 224, 224),),
        parameters=143_667_240,
        published_parameters=143_667_240,
        published_source=_TORCHVISION,
    ),
)


def _recommender(
    name: str,
    title: str,
    input_shapes: tuple[tuple[int, ...], ...],
    *,
    paper: int,
    reference: int,
    small: int,
) -> Network:
    """Return the entry of a recommendation network.

    Args:
        name: of its factory, too.
        title: for people.
        input_shapes: of the preset `paper`.
        paper: parameters of that preset, which is the default.
        reference: parameters of that preset.
        small: parameters of that preset.
    """
    return Network(
        name=name,
        title=title,
        factory=f"trimtab.zoo.recommend:{name}",
        input_shapes=input_shapes,
        parameters=paper,
        published_parameters=paper,
        published_source="counted from the preset; no source prints a number",
        presets=FrozenDict({"paper": paper, "reference": reference, "small": small}),
    )


_RECOMMEND: Final = (
    _recommender(
        "dien",
        "Deep interest evolution network (AUGRU)",
        ((20, 1), (40,)),
        paper=624_203_068,
        reference=976_094_268,
        small=64_094_268,
    ),
    _recommender(
        "din",
        "Deep interest network",
        ((20, 1), (250,)),
        paper=624_155_526,
        reference=675_248_573,
        small=64_053_126,
    ),
    _recommender(
        "mtwnd",
        "Wide & Deep for 5 tasks",
        ((512,), (40, 1)),
        paper=657_462_085,
        reference=984_280_901,
        small=68_196_901,
    ),
    _recommender(
        "ncf",
        "Neural collaborative filtering (NeuMF)",
        ((2, 1),),
        paper=21_635_905,
        reference=21_644_097,
        small=21_644_097,
    ),
    _recommender(
        "rmc1",
        "DLRM-RMC1: few tables, many lookups",
        ((256,), (10, 80)),
        paper=640_076_065,
        reference=1_024_100_833,
        small=64_100_833,
    ),
    _recommender(
        "rmc2",
        "DLRM-RMC2: many tables, many lookups",
        ((256,), (40, 80)),
        paper=640_539_553,
        reference=1_024_319_937,
        small=64_319_937,
    ),
    _recommender(
        "rmc3",
        "DLRM-RMC3: wide dense layers",
        ((2560,), (10, 20)),
        paper=641_438_497,
        reference=643_205_409,
        small=67_205_409,
    ),
    _recommender(
        "wnd",
        "Wide & Deep",
        ((512,), (20, 1)),
        paper=642_837_057,
        reference=867_066_433,
        small=66_102_433,
    ),
)
# One tuple a module of factories.
_NETWORKS: Final = tuple(sorted((*_VISION, *_RECOMMEND), key=lambda entry: entry.name))


def networks() -> tuple[Network, ...]:
    """Return all networks of the zoo.

    Example:
        >>> [entry.name for entry in networks()][:3]
        ['alexnet', 'densenet121', 'dien']
    """
    return _NETWORKS


def network(name: str) -> Network:
    """Return the network of that name.

    Args:
        name: such as ``resnet50``, or with a preset: ``rmc1-small``.

    Returns:
        The entry.

    Raises:
        NetworkNotFoundError: no network has that name; names the nearest and all.
        UsageError: the network has presets, but none of that name.

    Example:
        >>> network("vgg16").published_parameters
        138357544
    """
    by_name = {entry.name: entry for entry in _NETWORKS}
    if name in by_name:
        return by_name[name]
    base, dash, preset = name.partition("-")
    if dash and base in by_name and by_name[base].presets:
        return _with_preset(by_name[base], preset)
    near = difflib.get_close_matches(name, by_name, n=1)
    hint = f"did you mean {near[0]}? Otherwise use one of" if near else "use one of"
    raise NetworkNotFoundError(
        f"network {name!r}",
        rule="the zoo has none of that name",
        where="trimtab.zoo.registry",
        remedy=f"{hint} {', '.join(by_name)}",
    )


def _with_preset(entry: Network, preset: str) -> Network:
    """Return the entry for one of its presets."""
    from trimtab.zoo.preset import sizes

    inputs = sizes(entry.name, preset).inputs
    return replace(
        entry,
        name=f"{entry.name}-{preset}",
        input_shapes=tuple(each.shape for each in inputs),
        parameters=entry.presets[preset],
        published_parameters=entry.presets[preset],
        preset=preset,
    )
