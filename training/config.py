"""Every setting of a training run, with the reason for its default beside it."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, CliImplicitFlag, SettingsConfigDict

from training.backbones import BACKBONES
from training.backbones.sections import Cut
from training.recipes import DEFAULT_METHOD, METHODS, RECIPES, resolve

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Layout = Literal["auto", "channels_first", "channels_last"]
Augment = Literal["none", "cifar10", "imagenet", "svhn"]
Teacher = Literal["last", "ensemble", "mutual", "averaged"]
Divergence = Literal["kl", "logits"]
HintForm = Literal["mean", "norm"]
Head = Literal["narrow", "strided", "bottleneck", "attention"]
IN_FILES = ("imagenet", "folder")
"""Data sets whose images are a file each, of any size."""


class TrainConfig(BaseSettings):
    """Train a network whose every depth can answer, by self-distillation (arXiv:1905.08094).

    A recipe sets what it names, a method changes the loss, and whatever is given here beats both. A run that was
    killed goes on from its last checkpoint when the same command is given again; `torchrun` runs it in several
    processes, on one host or several. Other commands: `python -m training table --help`, `python -m training report
    --help`.
    """

    model_config = SettingsConfigDict(
        cli_prog_name="python -m training", cli_kebab_case=True, env_prefix="ANYTIME_TRAINING_"
    )

    out: Path = Field(Path("runs/default"), description="folder of the checkpoint, the log and the results")
    tensorboard: CliImplicitFlag[bool] = Field(
        False, description="write the log for TensorBoard, too, beside log.csv; needs the extra tensorboard"
    )
    recipe: str = Field("fashion-mnist", description=f"named settings to start from: {', '.join(RECIPES)}")
    method: str = Field(
        DEFAULT_METHOD, description=f"what the exits learn from, unless the recipe says: {', '.join(METHODS)}"
    )
    seed: int = Field(0, ge=0, description="seed of the initial weights, the order of the images, their augmentation")

    # Network.
    backbone: str = Field("resnet18", description=f"layout of the backbone: {', '.join(BACKBONES)}")
    width: int | None = Field(None, ge=1, description="channels of the first stage; none for the published number")
    stem_stride: int = Field(
        1, ge=1, le=2, description="stride of the first layer of a CIFAR network; 2 is a quarter of the cost everywhere"
    )
    last_stride: int = Field(
        2, ge=1, le=2, description="stride of the last stage of a CIFAR network; 2 is published, 1 keeps 7×7 of 28×28"
    )
    weights: str = Field(
        "",
        description="what to start from: a checkpoint of the same backbone, or its artifact in fp32 or fp16; for a "
        "torchvision/… backbone the name of its weights there, or a state dict file",
    )
    exits: int = Field(4, ge=1, description="number of exits; 4 is the paper's, one after each stage of a ResNet")
    cut: Cut = Field("auto", description="sections by stage or by equal shares of the cost; auto: by stage if it fits")
    head: Head = Field(
        "narrow",
        description="layers of the shallow exits: cheap ones, learned strides, the paper's, or the journal version's",
    )
    head_width: int = Field(
        128, ge=1, description="widest inner layer of a narrow or strided head; it keeps them cheap"
    )
    first_head: Head | None = Field(None, description="layers of the first exit; none: those of the others")
    first_head_width: int | None = Field(None, ge=1, description="head_width of the first exit; none: of the others")
    boost: float = Field(
        0.0, ge=0, le=1, description="share of the answer before that each exit adds to its logits (arXiv:2211.16726)"
    )

    # Loss. The paper prints no values and the public codes disagree, so these are the middle way among them.
    ce_weight: float = Field(0.7, ge=0, description="β, weight of the labels at the exits that have a teacher")
    kd_weight: float = Field(0.3, ge=0, description="α, weight of the distillation there (codes: 0.1 to 0.5)")
    kd_ramp: float = Field(0.0, ge=0, le=1, description="share of the run in which that weight rises from 0")
    temperature: float = Field(3.0, gt=0, description="T of the distillation; all public codes agree on 3")
    divergence: Divergence = Field(
        "kl", description="distance from the teacher: T²·KL, or the mean square between logits"
    )
    teacher: Teacher = Field(
        "last",
        description="the last exit; the mean logits of all; every other exit; or the last of the averaged weights",
    )
    smooth_teacher: bool = Field(
        False, description="smooth the labels of exits that teach, too; their students learn less from them"
    )
    hint_weight: float = Field(0.03, ge=0, description="λ of the hint loss")
    hint_form: HintForm = Field(
        "mean",
        description="mean of squares, whatever the batch size; or the authors' later form, 45 to 128 times as strong: "
        "the norm over the batch, behind a linear layer that only training has",
    )
    hint_exits: int | None = Field(None, ge=1, description="exits that get the hint, from the first; none: all")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of each label spread over all classes")
    gradient_equilibrium: bool = Field(False, description="balance the gradients of the exits (arXiv:1908.06294)")
    detached: float = Field(
        0.0, ge=0, lt=1, description="share of the channels whose gradient deeper exits leave alone (arXiv:2407.13986)"
    )
    backbone_first: float = Field(
        0.0, ge=0, lt=1, description="share of the run in which the last exit learns alone (arXiv:2407.14320)"
    )

    # Data.
    dataset: Literal["fashion-mnist", "cifar10", "cifar100", "imagenet", "folder"] = Field(
        "fashion-mnist", description="images; folder: data/train and data/test, a folder of images per class in each"
    )
    data: Path = Field(Path("data"), description="folder of the data set, where torchvision keeps or downloads it")
    originals: Path = Field(
        Path("/usr/share/datasets/fashion-mnist"),
        description="folder of Fashion-MNIST's original files (Debian: dataset-fashion-mnist), to need no download",
    )
    validation: int = Field(
        10_000, ge=1, description="training images held out for every choice; the test set is read once, at the end"
    )
    limit: int | None = Field(None, ge=1, description="use only so many training images (for a quick trial)")
    image_size: int | None = Field(
        None,
        ge=1,
        description="height and width that images from files are brought to; none for the recipe's, or that of the "
        "images if all are square of one small size, or that which the backbone is made for",
    )
    skip_broken: CliImplicitFlag[bool] = Field(
        False, description="go on without the image files that cannot be read; else they are listed and nothing is done"
    )
    decode_check: int = Field(
        50_000,
        ge=0,
        description="most training files that are decoded before the first epoch to find those that cannot be read; of "
        "more, only the headers are read, unless all fit in memory; test images are always decoded",
    )
    resident_gb: float = Field(
        4.0, ge=0, description="decoded images up to this size are kept on the device, larger sets are read as needed"
    )
    workers: int = Field(2, ge=0, description="processes that read image files; not used for resident images")

    # Augmentation, a batch at a time on the device; each image gets draws of its own.
    crop: Literal["padded", "resized"] = Field(
        "padded", description="random shift after padding, or a random part of the file resized (ImageNet's)"
    )
    crop_padding: int = Field(
        0, ge=0, description="pixels of random shift; 2 of 28 for centred clothes, 4 of CIFAR's 32"
    )
    padding_mode: Literal["zeros", "reflect"] = Field(
        "zeros", description="what a shift brings in: black, or the image mirrored at its edge"
    )
    flip: Literal["none", "random", "alternating"] = Field(
        "random", description="mirror no image, a random half, or each one every other epoch (arXiv:2404.00498)"
    )
    auto_augment: Augment = Field("none", description="policy of AutoAugment (arXiv:1805.09501)")
    erasing: float = Field(0.0, ge=0, le=1, description="probability of random erasing (arXiv:1708.04896)")
    cutout: int = Field(0, ge=0, description="side in pixels of Cutout (arXiv:1708.04552), 0 for none")

    # Optimisation: the numbers of the paper's authors' code, as the paper prints none; with Nesterov momentum and a
    # one-cycle schedule a tenth of its epochs are enough.
    epochs: int = Field(30, ge=1, description="passes over the training images")
    batch_size: int = Field(128, ge=1, description="images per step over all processes, the authors'")
    gradient_accumulation_steps: int = Field(
        1,
        ge=1,
        description="parts of each batch that go through the network in turn, in less memory; the optimizer steps "
        "once, with their mean gradient. Batch norm takes its statistics from each part",
    )
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="SGD with momentum, or AdamW")
    learning_rate: float = Field(0.1, gt=0, description="highest learning rate, the authors'")
    schedule: Literal["one-cycle", "cosine", "step"] = Field(
        "one-cycle", description="course of the learning rate; step divides it by 10 at each of the milestones"
    )
    milestones: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        [1 / 3, 2 / 3], description="shares of the run at which step divides the learning rate; ImageNet's usual thirds"
    )
    warmup: float = Field(0.15, ge=0, lt=1, description="share of the run in which it rises (not with step)")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD, the authors'")
    nesterov: bool = Field(True, description="Nesterov's form of it, which the authors' code does not use")
    weight_decay: float = Field(5e-4, ge=0, description="weight decay, the authors'")
    norm_weight_decay: float | None = Field(
        None, ge=0, description="that of biases and of batch norm's scales; none: the same, as the authors have it"
    )
    ema: float = Field(
        0.0, ge=0, lt=1, description="decay per step of averaged weights, which are evaluated; 0 for none"
    )
    save_steps: int = Field(1000, ge=1, description="optimizer steps between checkpoints; also one after each epoch")

    # Speed. `auto` times a few real steps of each and takes the fastest.
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where there is one")
    precision: Precision = Field("auto", description="arithmetic of the forward pass; auto measures fp32 and bf16")
    layout: Layout = Field("auto", description="memory layout of images and weights; auto measures both")

    @model_validator(mode="before")
    @classmethod
    def from_recipe(cls, given: dict[str, Any]) -> dict[str, Any]:
        recipe = given.get("recipe", cls.model_fields["recipe"].default)
        return resolve(given, recipe, given.get("method"))

    @model_validator(mode="after")
    def consistent(self) -> Self:
        if self.backbone not in BACKBONES:
            raise ValueError(f"no backbone {self.backbone!r}; there are {', '.join(BACKBONES)}")
        if self.crop == "resized" and self.dataset not in IN_FILES:
            raise ValueError(f"crop=resized needs image files, {self.dataset} has images of one small size")
        if self.precision == "fp16" and self.device == "cpu":
            raise ValueError("fp16 is for GPUs; use bf16 or fp32 on the CPU")
        if self.teacher == "averaged" and self.kd_weight and not self.ema:
            raise ValueError("teacher=averaged needs averaged weights; give ema, for instance 0.999")
        if self.teacher == "averaged" and self.kd_weight and self.boost:
            raise ValueError("teacher=averaged teaches what its last exit says alone; leave boost out")
        return self
