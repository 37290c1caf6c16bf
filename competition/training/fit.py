"""Train one fold: a pure function of its job that writes only into the fold's own folder.

fold_K/history.jsonl        records per epoch: the truth about how it went
fold_K/state.pt             where to go on after a kill; gone when the fold is finished
fold_K/model.safetensors    the network, with model.json
fold_K/predictions.npz      of the held-out images; written last, so a fold that has it is finished
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from competition import metrics
from competition.checkpoint import Checkpoint, save_checkpoint
from competition.errors import UserError
from competition.inference import predict_probabilities, views_of
from competition.models.freezing import set_train_mode
from competition.predictions import Predictions, load_predictions, save_predictions
from competition.runs import is_finished, locked
from competition.state import load_state, save_state
from competition.stop import NEVER, Stop, Stopped
from competition.training.display import FoldDisplay
from competition.training.inputs import FoldJob
from competition.training.learner import Learner
from competition.training.rates import peak_learning_rate
from competition.training.record import Recorder

SAVE_SECONDS = 60.0  # between two saves of the state: what a kill can cost
CHECK_STEPS = 20  # between two looks at the loss, each of which makes a GPU wait
PLATEAU_VALIDATIONS = 3  # without gain, after which the plateau schedule halves the learning rate

OnValidation = Callable[[int, int, float], None]  # step, steps of the fold, macro F1


def fit_fold(
    job: FoldJob, display: FoldDisplay, stop: Stop = NEVER, on_validation: OnValidation = lambda *_: None
) -> Predictions:
    """Train one fold, or go on with it, and predict its held-out images.

    Args:
        job: what to train.
        display: told how it goes.
        stop: asked after every step, on a GPU after every few.
        on_validation: told of every validation before the last; an exception from it abandons the fold.

    Raises:
        Stopped: somebody wanted to stop.
        UserError: the loss is not finite, or another process trains this fold.
    """
    with locked(job.folder / "lock", f"fold {job.fold} of {job.folder.parent}"):
        if is_finished(job.folder):
            return load_predictions(job.folder / "predictions.npz")
        training = FoldTraining(job, display, stop, on_validation)
        display.start_fold(job.fold, training.total_steps / training.loader.batches_per_epoch)
        training.restore()
        training.run()
        return training.finish()


@dataclass
class Counters:
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

    def begin_epoch(self, epoch: int) -> None:
        """Reset what is summed over an epoch."""
        self.epoch, self.batch, self.images = epoch, 0, 0
        self.loss_sum = self.hits = 0.0


class FoldTraining:
    """One fold under way: the loop over epochs, its records and its state."""

    def __init__(
        self, job: FoldJob, display: FoldDisplay, stop: Stop = NEVER, on_validation: OnValidation = lambda *_: None
    ) -> None:
        self.job, self.settings, self.display = job, job.settings, display
        self.stop, self.on_validation = stop, on_validation
        self.loader = job.training_loader()
        self.total_steps = self.settings.steps or self.settings.epochs * self.loader.batches_per_epoch
        self.recorder = Recorder(job.fold, job.folder, display, self.settings.tensorboard)
        self.learner = Learner(job, self.total_steps, self.recorder.note)
        self.progress = Counters()
        self.best_weights: dict[str, Tensor] | None = None
        self.last_save = time.perf_counter()

    # -- the loop ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train to the last step, validating on the way."""
        while self.progress.step < self.total_steps:
            self.train_epoch()
            is_last = self.progress.step >= self.total_steps
            is_due = self.progress.epoch % self.settings.validate_every == 0 and not is_last
            # The last validation is the out-of-fold prediction itself, unless the best epoch is looked for.
            if (is_due or (is_last and self.settings.stop_after)) and self._validate():
                break
            self._save_if_due()

    def train_epoch(self) -> None:
        """Train from the next batch to the end of the epoch, or to the last step."""
        progress, device = self.progress, self.job.machine.device
        set_train_mode(self.learner.network)
        start, images_before = time.perf_counter(), progress.images
        loss_sum = torch.tensor(progress.loss_sum, dtype=torch.float64, device=device)
        hits = torch.tensor(progress.hits, dtype=torch.float64, device=device)
        for pictures, positions in self._batches():
            loss, hit = self.learner.take_step(pictures, positions, progress.step, progress.plateau_factor)
            loss_sum += loss * len(positions)
            hits += hit
            progress.batch += 1
            progress.step += 1
            progress.images += len(positions)
            if progress.step % CHECK_STEPS == 0 or device.type == "cpu":
                progress.loss_sum, progress.hits = loss_sum.item(), hits.item()
                self._refuse_bad_loss()
                self._show(start, images_before)
                if progress.batch < self.loader.batches_per_epoch and progress.step < self.total_steps:
                    self._save_if_due()  # an epoch's last step is saved with its record, in `run`
        progress.loss_sum, progress.hits = loss_sum.item(), hits.item()
        self._refuse_bad_loss()
        seconds = time.perf_counter() - start
        self._record_epoch(seconds, (progress.images - images_before) / seconds)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self.loader.epoch(self.progress.epoch, self.progress.batch):
            if self.progress.step >= self.total_steps:
                return
            yield batch

    def _refuse_bad_loss(self) -> None:
        if math.isfinite(self.progress.loss_sum):
            return
        is_short = self.job.machine.precision.number_format != "fp32"
        raise UserError(
            f"fold {self.job.fold}, epoch {self.progress.epoch + 1}, step {self.progress.step}: the loss is "
            f"{self.progress.loss_sum}. Lower --learning-rate (now {peak_learning_rate(self.settings):g}), or set "
            f"--clip-norm 1{', or use --precision fp32' if is_short else ''}; finished folds are kept"
        )

    def _record_epoch(self, seconds: float, rate: float) -> None:
        progress = self.progress
        record = {
            "epoch": progress.epoch + 1,
            "step": progress.step,
            "learning_rate": max(group["lr"] for group in self.learner.optimizer.param_groups),
            "train_loss": progress.loss_sum / progress.images,
            "train_accuracy": progress.hits / progress.images,
            "seconds": round(seconds, 2),
            "images_per_second": round(rate, 1),
        }
        self.recorder.add(record)
        progress.begin_epoch(progress.epoch + 1)

    def _show(self, start: float, images_before: int) -> None:
        progress = self.progress
        rate = (progress.images - images_before) / max(time.perf_counter() - start, 1e-9)
        images_left = (self.total_steps - progress.step) * self.loader.size / self.loader.batches_per_epoch
        self.display.update(
            self.job.fold,
            done=progress.step / self.loader.batches_per_epoch,
            loss=progress.loss_sum / progress.images,
            images_per_second=rate,
            seconds_left=images_left / max(rate, 1e-9),
        )

    # -- validation ----------------------------------------------------------------------------------------

    def predict_held_out(self, views: int) -> Predictions:
        """Predict the held-out images with the network that is kept."""
        job, which = self.job, self.job.valid_rows
        probabilities = predict_probabilities(
            self.learner.evaluated,
            job.data.loader(which, max(job.batch_size, 128)),
            len(job.data.class_names),
            job.preprocessing,
            job.machine.precision,
            job.machine.device,
            views_of(views),
            note=self.recorder.note,
        )
        return Predictions(
            image_ids=job.data.image_ids[which],
            class_names=job.data.class_names,
            probabilities=probabilities,
            labels=job.data.labels[which],
            folds=np.full(len(which), job.fold, dtype=np.int64),
        )

    def _validate(self) -> bool:
        """Score the held-out images (one view); returns whether to stop for want of gain."""
        score = self._record_validation(self.predict_held_out(views=1))
        stop_after, progress = self.settings.stop_after, self.progress
        self.on_validation(progress.step, self.total_steps, score)
        if score > progress.best:
            progress.best, progress.validations_without_gain = score, 0
            if stop_after is not None:
                self.best_weights = {
                    name: tensor.clone() for name, tensor in self.learner.evaluated.state_dict().items()
                }
            return False
        progress.validations_without_gain += 1
        if self.settings.schedule == "plateau" and progress.validations_without_gain % PLATEAU_VALIDATIONS == 0:
            progress.plateau_factor *= 0.5
        return stop_after is not None and progress.validations_without_gain >= stop_after

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
        self.recorder.add(record)
        self.display.validated(self.job.fold, score)
        return score

    def finish(self) -> Predictions:
        """Write the checkpoint, then the predictions that mark the fold as finished."""
        job, network = self.job, self.learner.evaluated
        if self.best_weights is not None:
            network.load_state_dict(self.best_weights)
        predictions = self.predict_held_out(self.settings.views)
        score = metrics.macro_f1(predictions.confusion())
        if self.best_weights is None:  # else it was recorded under its own epoch
            # One view, as in the validations before it, or the views' gain would look like the last epoch's.
            self._record_validation(predictions if self.settings.views == 1 else self.predict_held_out(views=1))
        checkpoint = Checkpoint(
            model=self.settings.model,
            model_options=self.settings.model_options,
            class_names=job.data.class_names,
            preprocessing=job.preprocessing,
            precision=job.machine.precision,
            dropout=self.settings.dropout,
        )
        save_checkpoint(job.folder, network, checkpoint)
        save_predictions(job.folder / "predictions.npz", predictions)
        (job.folder / "state.pt").unlink(missing_ok=True)
        self.recorder.close()
        self.display.finish_fold(job.fold, score)
        return predictions

    # -- going on after a kill -----------------------------------------------------------------------------

    def save(self) -> None:
        """Write the whole state."""
        state = {
            "progress": vars(self.progress),
            "learner": self.learner.state_dict(),
            "best_weights": self.best_weights,
        }
        save_state(self.job.folder, state)
        self.last_save = time.perf_counter()

    def restore(self) -> None:
        """Go on from the saved state, if there is one; later records of the history are taken back."""
        state = load_state(self.job.folder, "fold")
        if state is not None:
            self.progress = Counters(**state["progress"])
            self.learner.load_state_dict(state["learner"])
            self.best_weights = state["best_weights"]
            self.recorder.note(f"going on from epoch {self.progress.epoch + 1}, step {self.progress.step}")
        self.recorder.go_back_to(self.progress.epoch)

    def _save_if_due(self) -> None:
        if self.stop():
            self.save()
            raise Stopped
        if time.perf_counter() - self.last_save > SAVE_SECONDS:
            self.save()
