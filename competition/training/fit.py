"""Train one fold: a pure function of (settings, data, fold) that writes only into the fold's own folder.

fold_K/history.jsonl        one record per epoch: the truth about how it went
fold_K/state.pt             where to go on after a kill; gone when the fold is finished
fold_K/model.safetensors    the network, with model.json
fold_K/predictions.npz      of the held-out images; written last, so a fold that has it is finished
"""

import io
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from competition import metrics
from competition.checkpoint import Checkpoint, save_checkpoint
from competition.config import TrainSettings
from competition.data.augment import create_policy
from competition.data.loader import Images, Loader
from competition.errors import UserError
from competition.inference import Preprocessing, predict_probabilities, views_of
from competition.models.budget import apply_masks, masks
from competition.models.freezing import set_train_mode
from competition.predictions import Predictions, load_predictions, save_predictions
from competition.runs import (
    append_history,
    counted_seed,
    locked,
    read_history,
    write_atomically,
    write_history,
)
from competition.training.display import Display
from competition.training.mixing import mix_batch, resized
from competition.training.optim import (
    create_loss,
    create_optimizer,
    growing_size,
    schedule_factor,
    set_learning_rate,
)
from competition.training.precision import Precision
from competition.training.start import starting_network, starting_share

SAVE_SECONDS = 60.0  # between two saves of the state: what a kill can cost
CHECK_STEPS = 20  # between two looks at the loss, each of which makes a GPU wait


class TimeUp(Exception):
    """The time limit has passed; the state is saved."""


@dataclass(frozen=True)
class TrainingData:
    """The labelled images of a run, decoded.

    Attributes:
        image_ids: (N,) names.
        labels: (N,) class numbers.
        class_names: K names.
        keys: (N,) 64-bit numbers that depend on the ids alone.
        rows: (N,) row of each image in the store.
        images: the store.
    """

    image_ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    keys: NDArray[np.uint64]
    rows: NDArray[np.int64]
    images: Images

    def loader(self, which: NDArray[np.intp], batch_size: int, **options: Any) -> Loader:
        """Return batches of some of the images; the options are `Loader`'s."""
        return Loader(self.images, self.rows[which], self.keys[which], batch_size, **options)


@dataclass(frozen=True)
class Machine:
    """Where and how the network runs: the same for every fold of a run."""

    device: torch.device
    precision: Precision
    workers: int


@dataclass
class Progress:
    """Everything about a training that changes, apart from the weights."""

    epoch: int = 0
    batch: int = 0  # next batch of the epoch
    step: int = 0
    loss_sum: float = 0.0
    hits: float = 0.0
    images: int = 0
    plateau_factor: float = 1.0
    best: float = -math.inf
    validations_without_gain: int = 0
    micro_batch: int = 0  # 0: the whole batch at once


def is_finished(folder: Path) -> bool:
    """Return whether a fold's folder holds a finished fold."""
    return (folder / "predictions.npz").exists()


def fit_fold(
    settings: TrainSettings,
    data: TrainingData,
    held_out: NDArray[np.bool_],
    fold: int,
    folder: Path,
    preprocessing: Preprocessing,
    machine: Machine,
    display: Display,
    deadline: float = math.inf,
) -> Predictions:
    """Train one fold, or go on with it, and predict its held-out images.

    Args:
        settings: what to train.
        data: all labelled images, N of them.
        held_out: (N,) which of them this fold predicts.
        fold: number of the fold.
        folder: the fold's own folder.
        preprocessing: stored with the checkpoint.
        machine: device, precision, workers.
        display: told how it goes.
        deadline: `time.perf_counter` value at which to save and stop.

    Raises:
        TimeUp: the deadline has passed.
        UserError: the loss is not finite, or another process trains this fold.
    """
    with locked(folder / "lock", f"fold {fold} of {folder.parent}"):
        if is_finished(folder):
            return load_predictions(folder / "predictions.npz")
        display.start_fold(fold)
        training = FoldTraining(settings, data, held_out, fold, folder, preprocessing, machine, display, deadline)
        training.restore()
        training.run()
        return training.finish()


class FoldTraining:
    """One fold under way."""

    def __init__(
        self,
        settings: TrainSettings,
        data: TrainingData,
        held_out: NDArray[np.bool_],
        fold: int,
        folder: Path,
        preprocessing: Preprocessing,
        machine: Machine,
        display: Display,
        deadline: float,
    ) -> None:
        self.settings, self.data, self.fold, self.folder = settings, data, fold, folder
        self.preprocessing, self.machine, self.display, self.deadline = (
            preprocessing,
            machine,
            display,
            deadline,
        )
        self.seed = counted_seed(settings.seed, "fold", fold)
        self.train_rows, self.valid_rows = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        self.labels = torch.from_numpy(data.labels[self.train_rows])
        self.loader = data.loader(
            self.train_rows,
            settings.batch_size,
            policy=create_policy(settings.augment, preprocessing.image_size),
            shuffle=True,
            copies=settings.copies,
            seed=self.seed,
            workers=machine.workers,
            pin=machine.device.type == "cuda",
        )
        self.total_steps = settings.steps or settings.epochs * self.loader.batches_per_epoch
        self.epochs = math.ceil(self.total_steps / self.loader.batches_per_epoch)
        self._build_network()
        self.progress = Progress()
        self.best_weights: dict[str, Tensor] | None = None
        self.last_save = time.perf_counter()

    def _build_network(self) -> None:
        settings, machine = self.settings, self.machine
        torch.manual_seed(counted_seed(self.seed, "weights"))
        network = starting_network(settings, len(self.data.class_names), self.preprocessing.image_size, self.fold)
        self.network = machine.precision.place(network, machine.device)
        self.grow_from = starting_share(settings, network, self.preprocessing.image_size)
        self.masks = masks(self.network) if settings.prune_method == "magnitude" and settings.prune_from else {}
        self.forward: nn.Module = torch.compile(self.network) if settings.compile else self.network  # type: ignore[assignment]
        self.optimizer = create_optimizer(
            self.network,
            settings.optimizer,
            settings.learning_rate,
            settings.weight_decay,
            settings.momentum,
            settings.layer_decay,
        )
        self.average = self._moving_average()
        self.scaler = torch.amp.GradScaler(machine.device.type, enabled=machine.precision.number_format == "fp16")
        counts = torch.bincount(self.labels, minlength=len(self.data.class_names)).to(machine.device)
        self.loss = create_loss(settings.loss, settings.label_smoothing, counts)
        self.labels = self.labels.to(machine.device)

    def _moving_average(self) -> Any:
        if self.settings.ema is None:
            return None
        from timm.utils import ModelEmaV3

        return ModelEmaV3(self.network, decay=self.settings.ema, use_warmup=True)

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and kept: the moving average where there is one."""
        return self.network if self.average is None else self.average.module

    # -- the loop ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train to the last step, validating on the way."""
        while self.progress.step < self.total_steps:
            self._train_epoch()
            is_last = self.progress.step >= self.total_steps
            validate = not is_last and self.progress.epoch % self.settings.validate_every == 0
            if (validate and self._validate()) or (is_last and self.settings.stop_after and self._validate()):
                break
            if time.perf_counter() - self.last_save > SAVE_SECONDS:
                self.save()

    def _train_epoch(self) -> None:
        progress = self.progress
        set_train_mode(self.network)
        start, images_before = time.perf_counter(), progress.images
        loss_sum = torch.tensor(progress.loss_sum, dtype=torch.float64, device=self.machine.device)
        hits = torch.tensor(progress.hits, dtype=torch.float64, device=self.machine.device)
        for pictures, positions in self._batches():
            loss, hit = self._train_batch(pictures, positions)
            loss_sum += loss * len(positions)
            hits += hit
            progress.batch += 1
            progress.step += 1
            progress.images += len(positions)
            if progress.step % CHECK_STEPS == 0 or self.machine.device.type == "cpu":
                progress.loss_sum, progress.hits = loss_sum.item(), hits.item()
                self._refuse_bad_loss()
                self._show(start, images_before)
                self._save_if_due()
        progress.loss_sum, progress.hits = loss_sum.item(), hits.item()
        self._refuse_bad_loss()
        seconds = time.perf_counter() - start
        self._record_epoch(seconds, (progress.images - images_before) / seconds)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self.loader.epoch(self.progress.epoch, self.progress.batch):
            if self.progress.step >= self.total_steps:
                return
            yield batch

    def _train_batch(self, pictures: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Take one optimisation step; returns the mean loss and the number of hits."""
        settings, step = self.settings, self.progress.step
        # Dropout and the like draw from here: counted by the step, so a restart cannot change them.
        torch.manual_seed(counted_seed(self.seed, "step", step))
        images = self.preprocessing.to_input(pictures, self.machine.device, self.machine.precision.memory_format)
        images = resized(images, growing_size(self.grow_from, step, self.total_steps, self.preprocessing.image_size))
        labels = self.labels[(positions % len(self.labels)).to(self.machine.device)]
        images, partner, weight = mix_batch(
            images,
            settings.mix,
            settings.mix_probability,
            settings.mixup_alpha,
            settings.cutmix_alpha,
            np.random.default_rng(counted_seed(self.seed, "mix", step)),
        )
        factor = schedule_factor(settings.schedule, step, self.total_steps, settings.warmup)
        set_learning_rate(self.optimizer, settings.learning_rate * factor * self.progress.plateau_factor)
        loss, hits = self._gradients(images, labels, labels if partner is None else labels[partner], weight)
        self._update_weights(step)
        return loss, hits

    def _gradients(self, images: Tensor, labels: Tensor, others: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        """Fill the gradients; when memory runs out, halve the micro-batch and begin the step again."""
        while True:
            size = self.progress.micro_batch or len(images)
            try:
                return self._accumulate(images, labels, others, weight, size)
            except RuntimeError as error:
                if not _is_out_of_memory(error) or size <= 1:
                    raise
            self.progress.micro_batch = math.ceil(size / 2)
            self.display.note(
                f"fold {self.fold}: memory ran out with {size} images at once; "
                f"going on with {self.progress.micro_batch} "
                "(the optimisation step stays the same; batch norm sees the smaller groups)"
            )
            if self.machine.device.type == "cuda":
                torch.cuda.empty_cache()

    def _accumulate(
        self, images: Tensor, labels: Tensor, others: Tensor, weight: float, size: int
    ) -> tuple[Tensor, Tensor]:
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=images.device)
        hits = torch.zeros((), device=images.device)
        for begin in range(0, len(images), size):
            part = slice(begin, begin + size)
            with self.machine.precision.autocast(self.machine.device):
                logits = self.forward(images[part])
            logits = logits.float()
            loss = self.loss(logits, labels[part])
            if weight < 1.0:
                loss = weight * loss + (1 - weight) * self.loss(logits, others[part])
            loss = loss * (len(labels[part]) / len(images))
            self.scaler.scale(loss).backward()
            total += loss.detach()
            hits += (logits.detach().argmax(dim=1) == labels[part]).sum()
        return total, hits

    def _update_weights(self, step: int) -> None:
        if self.settings.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        apply_masks(self.network, self.masks)
        if self.average is not None:
            self.average.update(self.network, step=step)

    def _refuse_bad_loss(self) -> None:
        if not math.isfinite(self.progress.loss_sum):
            raise UserError(
                f"fold {self.fold}, epoch {self.progress.epoch + 1}, step {self.progress.step}: the loss is "
                f"{self.progress.loss_sum}. Lower --learning-rate (now {self.settings.learning_rate:g}), "
                "set --clip-norm 1, or use --precision fp32; finished folds are kept"
            )

    def _record_epoch(self, seconds: float, rate: float) -> None:
        progress = self.progress
        record = {
            "epoch": progress.epoch + 1,
            "step": progress.step,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "train_loss": progress.loss_sum / progress.images,
            "train_accuracy": progress.hits / progress.images,
            "seconds": round(seconds, 2),
            "images_per_second": round(rate, 1),
        }
        append_history(self.folder / "history.jsonl", record)
        progress.epoch += 1
        progress.batch = progress.images = 0
        progress.loss_sum = progress.hits = 0.0

    # -- validation ----------------------------------------------------------------------------------------

    def predict_held_out(self, views: int) -> Predictions:
        """Predict the held-out images with the network that is kept."""
        which = self.valid_rows
        loader = self.data.loader(which, max(self.settings.batch_size, 128), workers=self.machine.workers)
        probabilities = predict_probabilities(
            self.evaluated,
            loader,
            len(self.data.class_names),
            self.preprocessing,
            self.machine.precision,
            self.machine.device,
            views_of(views),
        )
        return Predictions(
            image_ids=self.data.image_ids[which],
            class_names=self.data.class_names,
            probabilities=probabilities,
            labels=self.data.labels[which],
            folds=np.full(len(which), self.fold, dtype=np.int64),
        )

    def _validate(self) -> bool:
        """Score the held-out images (one view); returns whether to stop for want of gain."""
        score = self._record_validation(self.predict_held_out(views=1))
        if self.settings.stop_after is None and self.settings.schedule != "plateau":
            return False
        progress = self.progress
        if score > progress.best:
            progress.best, progress.validations_without_gain = score, 0
            if self.settings.stop_after is not None:
                self.best_weights = {name: tensor.clone() for name, tensor in self.evaluated.state_dict().items()}
            return False
        progress.validations_without_gain += 1
        if self.settings.schedule == "plateau" and progress.validations_without_gain % 3 == 0:
            progress.plateau_factor *= 0.5
        return self.settings.stop_after is not None and progress.validations_without_gain >= self.settings.stop_after

    def _record_validation(self, predictions: Predictions) -> float:
        assert predictions.labels is not None
        score = metrics.macro_f1(predictions.confusion())
        true = predictions.probabilities[np.arange(len(predictions.labels)), predictions.labels]
        record = {
            "epoch": self.progress.epoch,
            "step": self.progress.step,
            "valid_loss": float(-np.log(np.maximum(true, 1e-12)).mean()),
            "macro_f1": score,
        }
        append_history(self.folder / "history.jsonl", record)
        self.display.validated(self.fold, score)
        return score

    def finish(self) -> Predictions:
        """Write the checkpoint, then the predictions that mark the fold as finished."""
        if self.best_weights is not None:
            self.evaluated.load_state_dict(self.best_weights)
        predictions = self.predict_held_out(self.settings.views)
        score = self._record_validation(predictions)
        checkpoint = Checkpoint(
            model=self.settings.model,
            model_options=self.settings.model_options,
            class_names=self.data.class_names,
            preprocessing=self.preprocessing,
            precision=self.machine.precision,
            dropout=self.settings.dropout,
        )
        save_checkpoint(self.folder, self.evaluated, checkpoint)
        save_predictions(self.folder / "predictions.npz", predictions)
        (self.folder / "state.pt").unlink(missing_ok=True)
        self.display.finish_fold(self.fold, score)
        return predictions

    # -- going on after a kill -----------------------------------------------------------------------------

    def save(self) -> None:
        """Write the whole state atomically."""
        state = {
            "progress": vars(self.progress),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.module.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best_weights": self.best_weights,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(self.folder / "state.pt", buffer.getvalue())
        self.last_save = time.perf_counter()

    def restore(self) -> None:
        """Go on from the saved state, if there is one; later lines of the history are taken back."""
        path, history = self.folder / "state.pt", self.folder / "history.jsonl"
        if path.exists():
            state = torch.load(path, map_location=self.machine.device, weights_only=True)
            self.progress = Progress(**state["progress"])
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.average is not None:
                self.average.module.load_state_dict(state["average"])
            self.scaler.load_state_dict(state["scaler"])
            self.best_weights = state["best_weights"]
            self.display.note(
                f"fold {self.fold}: going on from epoch {self.progress.epoch + 1}, step {self.progress.step}"
            )
        write_history(history, [record for record in read_history(history) if record["epoch"] <= self.progress.epoch])

    def _save_if_due(self) -> None:
        now = time.perf_counter()
        if now > self.deadline:
            self.save()
            raise TimeUp
        if now - self.last_save > SAVE_SECONDS:
            self.save()

    def _show(self, start: float, images_before: int) -> None:
        progress = self.progress
        rate = (progress.images - images_before) / max(time.perf_counter() - start, 1e-9)
        images_left = (self.total_steps - progress.step) * self.loader.size / self.loader.batches_per_epoch
        self.display.update(
            self.fold,
            done=progress.step / self.loader.batches_per_epoch,
            loss=progress.loss_sum / progress.images,
            images_per_second=rate,
            seconds_left=images_left / max(rate, 1e-9),
        )


def _is_out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text
