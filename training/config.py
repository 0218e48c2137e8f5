"""Every setting of a training run, with the reason for its default beside it."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

Precision = Literal["auto", "fp32", "bf16"]
Layout = Literal["auto", "channels_first", "channels_last"]


class TrainConfig(BaseSettings):
    """Train a network whose every depth can answer, by self-distillation (arXiv:1905.08094).

    The defaults are the recipe of the embedded model. A run that was killed goes on from its last
    finished epoch when the same command is given again.
    """

    model_config = SettingsConfigDict(
        cli_prog_name="python -m training", cli_kebab_case=True, env_prefix="ANYTIME_TRAINING_"
    )

    run: Path = Field(Path("runs/default"), description="folder of the checkpoint, the log and the results")
    seed: int = Field(0, description="seed of the initial weights, the order of the images and their augmentation")

    # Network. Width 32 keeps the artifact below 12 MB, stride 1 gives its last exit the time to be worth waiting for.
    backbone: Literal["resnet18"] = Field("resnet18", description="layout of the backbone")
    width: int = Field(32, ge=1, description="channels of the first stage; each further stage doubles them")
    last_stride: int = Field(
        1,
        ge=1,
        le=2,
        description="stride of the last stage; 2 is the published layout for 32×32 pixels, 1 keeps 7×7 of 28×28",
    )
    exits: int = Field(4, ge=1, description="number of exits; 4 is the paper's, one after each stage of a ResNet")
    head_width: int = Field(128, ge=1, description="widest inner layer of a head; narrow heads keep early exits cheap")

    # Loss. The paper prints no values and the public codes disagree, so these are the middle way among them.
    kd_weight: float = Field(
        0.3, ge=0, le=1, description="α, share of distillation against labels at the shallow exits (codes: 0.1 to 0.5)"
    )
    temperature: float = Field(3.0, gt=0, description="T of the distillation; all public codes agree on 3")
    hint_weight: float = Field(
        0.03, ge=0, description="λ of the hint loss, a mean over elements so that it does not depend on the batch size"
    )

    # Data.
    data: Path = Field(Path("data"), description="folder where torchvision keeps the data set")
    originals: Path = Field(
        Path("/usr/share/datasets/fashion-mnist"),
        description="folder of the original files, used instead of a download (Debian: dataset-fashion-mnist)",
    )
    validation: int = Field(
        10_000, ge=1, description="training images held out; as many as the test set has, thresholds are chosen on them"
    )
    crop_padding: int = Field(2, ge=0, description="pixels of random shift; 2 of 28, since the clothes are centred")
    erasing: float = Field(
        0.25, ge=0, le=1, description="probability of random erasing, the best known aid on this data"
    )
    workers: int = Field(1, ge=0, description="processes that augment images; one keeps up with the network")
    limit: int | None = Field(None, ge=1, description="use only so many training images (for a quick trial)")

    # Optimisation: SGD as in the paper; a one-cycle schedule reaches its accuracy in a tenth of the epochs.
    epochs: int = Field(30, ge=1, description="passes over the training images")
    batch_size: int = Field(128, ge=1, description="images per step, the paper's")
    learning_rate: float = Field(0.1, gt=0, description="highest learning rate, the paper's")
    warmup: float = Field(0.15, ge=0, lt=1, description="share of the run in which the learning rate rises")
    momentum: float = Field(0.9, ge=0, lt=1, description="Nesterov momentum, the paper's")
    weight_decay: float = Field(5e-4, ge=0, description="weight decay, the paper's")

    # Speed. `auto` times a few real steps of each and takes the fastest.
    device: str = Field("auto", description="torch device; auto takes a GPU where there is one")
    precision: Precision = Field("auto", description="arithmetic of the forward pass; auto measures both")
    layout: Layout = Field("auto", description="memory layout of images and weights; auto measures both")
