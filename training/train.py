"""One training run, top to bottom."""

import math
import time
from pathlib import Path
from typing import Any

import torch

from training import checkpoint, datasets, logs, speed
from training.augmentation import Augmentation, draw, share
from training.backbones.cifar import CIFAR
from training.board import Board, check_installed
from training.checkpoint import Checkpoint, furthest, open_choices, resumable
from training.config import IN_FILES, TrainConfig
from training.devices import leads, set_up
from training.evaluate import accuracies, answers
from training.learner import Learner, make_loss
from training.manifest import Origin, check_shared
from training.network import build
from training.progress import bar
from training.schedules import learning_rate
from training.transfer import start_from

CHECKPOINT = "checkpoint.pt"


def train(config: TrainConfig) -> Checkpoint:
    """Train as `config` says, or go on with the run in `config.out`; returns its last checkpoint.

    Writes `checkpoint.pt` and `log.csv` there after every epoch, `results.json` at the end. Started by torchrun, the
    processes share each batch, and the first one writes. Raises ValueError if the folder holds a run with other
    settings or other images, for images that cannot be read or are others on another host, or without TensorBoard
    where it is asked for.
    """
    if config.tensorboard:
        check_installed()
    path = config.out / CHECKPOINT
    fabric = set_up(config)
    leader = fabric.is_global_zero
    before = furthest(resumable(path, config), fabric)
    if before is not None and before.results:
        if leads():
            print(f"{path} is finished")
        return before
    if leader:
        config.out.mkdir(parents=True, exist_ok=True)

    # What a run chooses it chooses once: a resumed one keeps it, or its result would be another.
    if before is not None:
        config = config.model_copy(update={name: getattr(before.settings(), name) for name in open_choices(config)})
    origin = Origin(path, before.manifest) if before else None

    # Data and network. All files are checked before anything is learned, by the first process for the others. The seed
    # decides the weights here, and order and augmentation at every step.
    config = datasets.settled(config)
    test_images = None
    with fabric.rank_zero_first(local=True):
        if leader:
            splits, test_images = datasets.load_checked(config, origin)
        else:
            splits = datasets.load(config, origin)
    assert splits.manifest is not None
    check_shared(splits.manifest, fabric.broadcast(splits.manifest))
    packed = splits.manifest.packed()
    images = splits.train.to(fabric.device)
    augment = Augmentation(config, splits)
    torch.manual_seed(config.seed)
    network = build(config, splits.image_shape, len(splits.classes)).to(fabric.device)
    if config.weights and config.backbone in CIFAR and before is None:
        some = next(splits.inputs(splits.train)).to(fabric.device)
        kept = start_from(network, Path(config.weights), some)
        if leader:
            print(f"starts from {config.weights}" + (f", but for {', '.join(kept)}" if kept else ""))
    loss = make_loss(config)
    if leader:
        if config.dataset in IN_FILES:
            print(f"images are brought to {config.image_size}×{config.image_size}; --image-size sets another size")
        print(logs.costs(network, splits.image_shape))

    # Speed is chosen by the first process.
    sample = next(splits.inputs(splits.validation, share(config, fabric.world_size))).to(fabric.device)
    labels = splits.validation.labels[: len(sample)].to(fabric.device)
    chosen = fabric.broadcast(speed.choose(config, network, loss, sample, labels) if leader else None)
    assert chosen is not None
    config = config.model_copy(update={"precision": chosen.precision, "layout": chosen.layout})

    # What learns, and how far it has come.
    learner = Learner(config, network, loss, chosen, fabric)
    done, total, seconds, history = 0, torch.zeros((), dtype=torch.float64, device=fabric.device), 0.0, []
    if before is not None:
        learner.restore(before)
        done, total, seconds, history = before.step, total + before.loss, before.seconds, before.history

    board = Board(config.out, history) if leader and config.tensorboard else None

    def save(results: dict[str, Any] | None = None) -> None:
        Checkpoint(
            config=config.model_dump(mode="json"),
            image_shape=splits.image_shape,
            classes=list(splits.classes),
            mean=list(splits.mean),
            std=list(splits.std),
            resize=splits.resize,
            split_sizes={"train": len(splits.train), "validation": len(splits.validation)},
            **learner.state(),
            step=done,
            loss=total.item(),
            seconds=seconds,
            history=history,
            results=results or {},
            environment=logs.environment(),
            images=packed,
        ).save(path)

    # The loop. `total` is the loss summed over the steps of the epoch, of this process' shares of the batches.
    steps = len(splits.train) // config.batch_size
    for number in range(done // max(steps, 1), config.epochs):
        epoch = draw(config, len(splits.train), number, fabric.global_rank, fabric.world_size)
        first, start = done % steps, time.perf_counter() - seconds
        learner.network.train()
        batches = images.training_batches(epoch, first)
        title = f"epoch {number + 1}/{config.epochs}"
        for step, pixels in enumerate(bar(batches, title, steps, first), start=first):
            augmented = augment(pixels.to(fabric.device), epoch.seeds[step], epoch.flips[step])
            labels = images.labels[epoch.indices[step].to(fabric.device)]
            progress = done / (steps * config.epochs)
            total += learner.step(augmented, labels, learning_rate(progress, config), progress)
            done += 1
            last = step + 1 == steps
            if last or (step + 1) % config.save_steps == 0:
                reduced = fabric.all_reduce(total)
                assert isinstance(reduced, torch.Tensor)
                total = reduced
                seconds = time.perf_counter() - start
                if leader and not last:
                    save()

        mean_loss, epoch_seconds = total.item() / steps, seconds
        if not math.isfinite(mean_loss):
            raise ValueError(f"the loss of epoch {number + 1} is {mean_loss}; a lower learning rate may help")
        total.zero_()
        seconds = 0.0
        if leader:
            held_out = splits.inputs(splits.validation, title="validation")
            shares = accuracies(answers(learner.eval_network, held_out), splits.validation.labels)
            history.append(logs.row(number + 1, mean_loss, epoch_seconds, shares))
            logs.write_log(config.out, history)
            save()
            if board:
                board.write(history[-1])
            print(logs.line(history[-1]), flush=True)
        fabric.barrier()

    # The end: the only look at the test set.
    if leader:
        assert test_images is not None
        validation, test = logs.last_figures(learner.eval_network, splits, test_images)
        results = logs.results(config, network, splits, history, validation, test)
        logs.write_results(config.out, results)
        save(results)
        if board:
            board.close()
        print("test: " + ", ".join(f"{share:.2%}" for share in test["accuracy"]) + " (each exit, then their ensemble)")
    finished = fabric.broadcast(checkpoint.load(path) if leader else None)
    assert finished is not None
    return finished
