"""One training run, top to bottom."""

import math
import time
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from training import checkpoint, datasets, logs, speed
from training.augmentation import Augmentation, draw
from training.checkpoint import Checkpoint, resumable
from training.config import TrainConfig
from training.devices import set_up, share_batch_norm
from training.evaluate import exit_logits
from training.losses import SelfDistillation
from training.network import build
from training.schedules import learning_rate

CHECKPOINT = "checkpoint.pt"


def train(config: TrainConfig) -> Checkpoint:
    """Train as `config` says, or go on with the run in `config.run`; returns its last checkpoint.

    Writes `checkpoint.pt` and `log.csv` to the run's folder after every epoch, `results.json` at the end. Started by
    torchrun, the processes share each batch. Raises ValueError if the folder holds a run with other settings.
    """
    path = config.run / CHECKPOINT
    before = resumable(path, config)
    if before is not None and before.results:
        print(f"{path} is finished")
        return before
    config.run.mkdir(parents=True, exist_ok=True)
    fabric = set_up(config)
    leader = fabric.is_global_zero

    # Data and network. The seed decides the weights here, and order and augmentation at every step.
    with fabric.rank_zero_first(local=True):
        splits = datasets.load(config)
    train_images = splits.train.to(fabric.device)
    torch.manual_seed(config.seed)
    network = build(config, splits.image_shape, len(splits.classes)).to(fabric.device)
    loss_of = SelfDistillation(
        ce_weight=config.ce_weight,
        kd_weight=config.kd_weight,
        hint_weight=config.hint_weight,
        temperature=config.temperature,
        teacher=config.teacher,
        label_smoothing=config.label_smoothing,
    )
    if leader:
        print(logs.costs(network, splits.image_shape))

    # Speed is chosen once; a resumed run keeps the choice, or its result would be another.
    if before is not None:
        config = config.model_copy(update={name: before.config[name] for name in ("precision", "layout")})
    sample = next(splits.inputs(splits.validation, config.batch_size // fabric.world_size)).to(fabric.device)
    chosen = speed.choose(config, network, loss_of, sample, splits.validation.labels[: len(sample)].to(fabric.device))
    chosen = fabric.broadcast(chosen)
    config = config.model_copy(update={"precision": chosen.precision, "layout": chosen.layout})
    network = share_batch_norm(network.to(memory_format=chosen.memory_format), fabric)

    # Optimiser. The learning rate is set at every step; the averaged weights, if asked for, are those evaluated.
    optimizer = make_optimizer(config, network)
    scaler = chosen.scaler(fabric.device)
    averaged = None
    if config.ema:
        averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
    evaluated = averaged.module if averaged else network

    # Where the run stands.
    steps = len(draw(config, len(splits.train), 0, fabric.global_rank, fabric.world_size))
    done, loss_sum, seconds, history = 0, 0.0, 0.0, []
    if before is not None:
        network.load_state_dict(before.network)
        optimizer.load_state_dict(before.optimizer)
        scaler.load_state_dict(before.scaler)
        if averaged:
            averaged.module.load_state_dict(before.averaged)
            averaged.n_averaged.fill_(before.step)
        done, loss_sum, seconds, history = before.step, before.loss, before.seconds, before.history

    def snapshot(results: dict | None = None) -> Checkpoint:
        return Checkpoint(
            config=config.model_dump(mode="json"),
            image_shape=splits.image_shape,
            classes=list(splits.classes),
            mean=list(splits.mean),
            std=list(splits.std),
            resize=splits.resize,
            split_sizes={"train": len(splits.train), "validation": len(splits.validation)},
            network=network.state_dict(),
            averaged=averaged.module.state_dict() if averaged else {},
            optimizer=optimizer.state_dict(),
            scaler=scaler.state_dict(),
            step=done,
            loss=float(loss_sum),
            seconds=seconds,
            history=history,
            results=results or {},
            environment=logs.environment(),
        )

    # The loop.
    augment = Augmentation(config, splits)
    model = fabric.setup_module(network)
    saved = time.monotonic()
    for number in range(done // steps, config.epochs):
        epoch = draw(config, len(splits.train), number, fabric.global_rank, fabric.world_size)
        first = done % steps
        batches = train_images.training_batches(epoch, first)
        progress = tqdm(
            batches,
            f"epoch {number + 1}/{config.epochs}",
            steps,
            leave=False,
            initial=first,
            disable=None if leader else True,
        )
        network.train()
        start, earlier = time.perf_counter(), seconds
        for step, pixels in enumerate(progress, start=first):
            images = augment(pixels.to(fabric.device), epoch.seeds[step])
            labels = train_images.labels[epoch.indices[step].to(fabric.device)]
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(done / (steps * config.epochs), config)
            with chosen.autocast(fabric.device):
                outputs = model(images.to(memory_format=chosen.memory_format))
            loss = loss_of(outputs, labels)
            optimizer.zero_grad()
            fabric.backward(scaler.scale(loss))
            scaler.step(optimizer)
            scaler.update()
            if averaged:
                averaged.update_parameters(network)
            loss_sum = loss_sum + loss.detach().double()
            done += 1
            if time.monotonic() - saved > config.save_minutes * 60 and leader:
                seconds = earlier + time.perf_counter() - start
                snapshot().save(path)
                saved = time.monotonic()
        mean_loss = float(loss_sum) / steps
        seconds = earlier + time.perf_counter() - start
        if not math.isfinite(mean_loss):
            raise ValueError(f"the loss of epoch {number + 1} is {mean_loss}; a lower learning rate may help")
        if leader:
            found = logs.figures(exit_logits(evaluated, splits.inputs(splits.validation)), splits.validation.labels)
            history = [*history, logs.row(number + 1, mean_loss, seconds, found["accuracy"])]
        loss_sum, seconds = 0.0, 0.0
        if leader:
            logs.write_log(config.run, history)
            snapshot().save(path)
            saved = time.monotonic()
            print(logs.line(history[-1]), flush=True)
        fabric.barrier()

    # The end: the only look at the test set.
    if leader:
        test = datasets.test_images(config)
        results = logs.results(
            config,
            network,
            splits.image_shape,
            history,
            steps * config.batch_size,
            validation=logs.figures(exit_logits(evaluated, splits.inputs(splits.validation)), splits.validation.labels),
            test=logs.figures(exit_logits(evaluated, splits.inputs(test)), test.labels),
        )
        logs.write_results(config.run, results)
        snapshot(results).save(path)
        shares = results["test"]["accuracy"]
        print("test: " + ", ".join(f"{share:.2%}" for share in shares) + " (each exit, then their ensemble)")
    fabric.barrier()
    return checkpoint.load(path)


def make_optimizer(config: TrainConfig, network: torch.nn.Module) -> torch.optim.Optimizer:
    if config.optimizer == "adamw":
        return torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    return torch.optim.SGD(
        network.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.momentum > 0,
    )
