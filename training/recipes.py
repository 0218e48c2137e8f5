"""Named settings: a recipe per row of the paper's tables, methods to compare, and recipes for this repository."""

from typing import Any

Settings = dict[str, Any]

# The paper's CIFAR-100 (arXiv:1905.08094, section 4) as its authors' code of 2019 trains it: the paper prints neither
# weights nor schedule. The exits stay narrow; `--head bottleneck` is the paper's. Unlike there, 5,000 images are held
# out for every choice.
PAPER_CIFAR100: Settings = {
    "dataset": "cifar100",
    "image_size": 32,
    "epochs": 200,
    "validation": 5000,
    "schedule": "step",
    "milestones": [75 / 200, 130 / 200, 180 / 200],
    "nesterov": False,
    "crop_padding": 4,
    "ce_weight": 0.5,
    "kd_weight": 0.5,
    "weight_decay": 5e-4,
    "last_stride": 2,
    "width": None,
}

# The usual recipe of ImageNet (torchvision's): 90 epochs, a tenth of the learning rate after each third. The paper's is
# not known.
PAPER_IMAGENET: Settings = {
    "dataset": "imagenet",
    "image_size": 224,
    "crop": "resized",
    "epochs": 90,
    "batch_size": 256,
    "schedule": "step",
    "nesterov": False,
    "weight_decay": 1e-4,
    "ce_weight": 0.5,
    "kd_weight": 0.5,
    "width": None,
    "workers": 8,
}

FASHION_MNIST: Settings = {
    "dataset": "fashion-mnist",
    "crop_padding": 2,
    "erasing": 0.25,
}

# ResNet-18 with its stages at half the published size, so that the first exit is early and the last worth waiting for.
# Batch size, learning rate and no Cutout: the best on validation data of those tried for six epochs under cifar100-cpu.
# Weight decay on the scales of batch norm let channels of the last section die, which int8 does not survive.
CIFAR100: Settings = {
    "dataset": "cifar100",
    "backbone": "resnet18",
    "stem_stride": 2,
    "last_stride": 1,
    "validation": 5000,
    "crop_padding": 4,
    "padding_mode": "reflect",
    "flip": "alternating",
    "batch_size": 256,
    "learning_rate": 0.4,
    "norm_weight_decay": 0.0,
    "layout": "channels_last",
}

CIFAR100_GPU: Settings = {
    **CIFAR100,
    "stem_stride": 1,
    "last_stride": 2,
    "epochs": 100,
    "precision": "bf16",
}

CIFAR100_ROWS = [
    "vgg19_bn",
    "resnet18",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext29_8x64d",
    "wide_resnet20_8",
    "wide_resnet44_8",
    "wide_resnet28_12",
    "pyramidnet101_240",
]
IMAGENET_ROWS = ["resnet18", "resnet50", "vgg19_bn"]

RECIPES: dict[str, Settings] = {
    # The embedded model. Width 32 keeps the artifact below 12 MB, stride 1 makes its last exit worth waiting for.
    # Its method came out best on validation data of six under `fashion-mnist-cpu` (benchmarks/results/methods).
    "fashion-mnist": {
        **FASHION_MNIST,
        "method": "deep-supervision",
        "backbone": "resnet18",
        "width": 32,
        "last_stride": 1,
        "epochs": 30,
    },
    # Small enough to compare all methods on two cores in an hour and a half; one arithmetic for all of them.
    "fashion-mnist-cpu": {
        **FASHION_MNIST,
        "backbone": "resnet18",
        "width": 8,
        "epochs": 8,
        "head_width": 64,
        "precision": "fp32",
        "layout": "channels_last",
    },
    # ResNet-18 of the published width, for one GPU.
    "fashion-mnist-gpu": {
        **FASHION_MNIST,
        "backbone": "resnet18",
        "epochs": 60,
        "precision": "bf16",
        "layout": "channels_last",
    },
    # A model of colour photographs for two cores, in an hour and a half; its method is still to be chosen.
    "cifar100": {**CIFAR100, "method": "deep-mutual-learning", "width": 32, "epochs": 36},
    # A folder of a few thousand photos on two cores, in minutes, starting from the weights of the embedded cifar100.
    "photos": {
        **CIFAR100,
        "method": "deep-mutual-learning",
        "dataset": "folder",
        "width": 32,
        "image_size": 48,
        "validation": 900,
        "crop_padding": 6,
        "batch_size": 64,
        "learning_rate": 0.05,
        "epochs": 12,
        "precision": "fp32",
    },
    # Small enough to compare the methods on two cores in a few hours.
    "cifar100-cpu": {**CIFAR100, "width": 16, "epochs": 20, "precision": "fp32"},
    # ResNet-18 of the published width and size, for one GPU; 100 epochs where the paper has 200.
    "cifar100-gpu": CIFAR100_GPU,
    "cifar100-gpu-augmented": {**CIFAR100_GPU, "auto_augment": "cifar10", "cutout": 16},
    **{f"cifar100-{name}": {**PAPER_CIFAR100, "backbone": name} for name in CIFAR100_ROWS},
    **{f"imagenet-{name}": {**PAPER_IMAGENET, "backbone": f"torchvision/{name}"} for name in IMAGENET_ROWS},
}

# What may be compared under one recipe, each as its paper or its authors' code has it. `self-distillation` and the rows
# named after it take the recipe's numbers, the paper's method. Deep supervision with label smoothing, and with averaged
# weights, are controls: distillation smooths labels, and where an average teaches it is the average that is evaluated.
DEFAULT_METHOD = "self-distillation"
DEEP_SUPERVISION: Settings = {"ce_weight": 1.0, "kd_weight": 0.0, "hint_weight": 0.0}
ADDED: Settings = {"ce_weight": 1.0, "kd_weight": 1.0, "hint_weight": 0.0}  # to labels of undiminished weight
MUTUAL: Settings = {**ADDED, "teacher": "mutual", "temperature": 1.0}
METHODS: dict[str, Settings] = {
    "plain": {"exits": 1},
    "deep-supervision": DEEP_SUPERVISION,
    "deep-supervision-label-smoothing": {**DEEP_SUPERVISION, "label_smoothing": 0.1},
    "deep-supervision-averaged": {**DEEP_SUPERVISION, "ema": 0.999},
    "gradient-equilibrium": {**DEEP_SUPERVISION, "gradient_equilibrium": True},
    "detached-features": {**DEEP_SUPERVISION, "detached": 0.25},
    "backbone-first": {**DEEP_SUPERVISION, "backbone_first": 0.3},
    "boosted": {**DEEP_SUPERVISION, "gradient_equilibrium": True, "boost": 0.5},
    "self-distillation-without-hint": {"hint_weight": 0.0},
    "self-distillation": {},
    "self-distillation-hint-norm": {"hint_weight": 0.03, "hint_form": "norm", "hint_exits": 2},
    "self-distillation-gradient-equilibrium": {"gradient_equilibrium": True},
    "self-distillation-ensemble": {"teacher": "ensemble"},
    "kd-added": ADDED,
    "kd-added-ramp": {**ADDED, "kd_ramp": 0.25},
    "averaged-teacher": {**ADDED, "teacher": "averaged", "ema": 0.999},
    "ensemble-teacher": {
        "ce_weight": 1.0,
        "kd_weight": 1.0,
        "hint_weight": 1.0,
        "teacher": "ensemble",
        "divergence": "logits",
    },
    "mutual": MUTUAL,
    "deep-mutual-learning": {**MUTUAL, "kd_weight": 1 / 3},  # the mean over the other exits (arXiv:1706.00384)
    "mutual-ramp": {**MUTUAL, "kd_ramp": 0.25},
    "mutual-strided-first-head": {**MUTUAL, "first_head": "strided"},
}
# Settings without a meaning for the plain network that the methods are compared with.
OF_EXITS = {name for settings in METHODS.values() for name in settings} - {"label_smoothing", "ema"} | {
    "head",
    "head_width",
    "first_head_width",
    "cut",
    "smooth_teacher",
}


def resolve(given: Settings, recipe: str, method: str | None) -> Settings:
    """All settings of a run: the recipe's, over them the method's, over them those given.

    Without a `method` it is the recipe's. Raises ValueError for a name that is not known.
    """
    method = method or RECIPES.get(recipe, {}).get("method", DEFAULT_METHOD)
    for kind, name, known in (("recipe", recipe, RECIPES), ("method", method, METHODS)):
        if name not in known:
            raise ValueError(f"no {kind} {name!r}; there are {', '.join(known)}")
    return {**RECIPES[recipe], **METHODS[method], "recipe": recipe, "method": method, **given}
