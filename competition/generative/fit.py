"""Train one generative model: one loop for all of them."""

import math
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from competition.errors import UserError
from competition.generative.checkpoint import Generator, save_generator
from competition.generative.learner import Learner
from competition.generative.review import Sheet
from competition.generative.run import Run, starting_model
from competition.generative.sheets import NO_LOSSES, write_losses
from competition.generative.watch import PATIENCE, Diversity, Watch
from competition.progress import Bar
from competition.runs import append_history, locked, read_history, read_json, write_history, write_json
from competition.state import load_state, save_state
from competition.stop import NEVER, Stop, Stopped

SAVE_SECONDS = 60.0  # between two saves of the state: what a kill can cost
CHECK_STEPS = 20  # between two looks at the loss, each of which makes a GPU wait
RECORD_STEPS = 50  # that one line of the history averages over
SHEETS = 10  # in a training, where --sheet-every does not say


def fit(run: Run, stop: Stop | None = None) -> dict[str, Any]:
    """Train a model, or go on with it; returns what ``result.json`` holds.

    Args:
        run: what to train.
        stop: asked after every step; it listens while the model trains. None: one of this call's own.

    Raises:
        Stopped: somebody wanted to stop.
        UserError: a loss is not finite, or another process trains this run.
    """
    with locked(run.folder / "lock", str(run.folder)):
        if (run.folder / "result.json").exists():
            return dict(read_json(run.folder / "result.json"))
        training = Training(run, stop or Stop())
        with training.bar:
            training.restore()
            with training.stop.listening():
                for _ in training.steps():
                    pass
        return training.finish()


class Training:
    """One model under way: the loop, its records, sheets and state."""

    def __init__(self, run: Run, stop: Stop = NEVER) -> None:
        self.run, self.settings, self.stop = run, run.settings, stop
        self.loader = run.pictures.loader(self.settings.images_per_step, self.settings.seed)
        self.labels = torch.from_numpy(run.pictures.labels)
        per_epoch = self.loader.batches_per_epoch
        self.total_steps = self.settings.steps or self.settings.epochs * per_epoch
        self.sheet_every = self.settings.sheet_every or max(1, self.total_steps // SHEETS)
        model = starting_model(self.settings, run.design)
        self.learner = Learner(model, self.settings, self.total_steps, run.precision, run.device)
        self.step, self.images = 0, 0
        self.sums: dict[str, Tensor] = {}  # of the losses since the last record
        self.summed = 0  # steps in them
        self.watch = Watch()
        self.kept_step = 0
        self.bar = Bar("training", self.total_steps, "steps", sys.stdout)
        self.last_save = self.last_record = time.perf_counter()
        self.recorded_images = 0
        self.sheet = Sheet(run)

    # -- the loop ------------------------------------------------------------------------------------------

    def steps(self) -> Iterator[int]:
        """Train to the last step; yields after each how many have been taken."""
        per_epoch = self.loader.batches_per_epoch
        while self.step < self.total_steps:
            for pictures, positions in self.loader.epoch(self.step // per_epoch, self.step % per_epoch):
                self.take_step(pictures, positions)
                yield self.step
                if self.step >= self.total_steps:
                    break

    def take_step(self, pictures: Tensor, positions: Tensor) -> None:
        """Take one step, and whatever is due after it."""
        losses = self.learner.take_step(pictures, self.labels[positions], self.step)
        for name, loss in losses.items():
            self.sums[name] = self.sums[name] + loss if name in self.sums else loss
        self.step += 1
        self.summed += 1
        self.images += len(positions)
        is_last = self.step == self.total_steps
        is_looked_at = is_last or self.step % self.sheet_every == 0
        if self.run.device.type == "cpu" or self.step % CHECK_STEPS == 0 or is_looked_at:
            self._check()
        if self.step % RECORD_STEPS == 0 or is_last:
            self._record()
        if is_looked_at:
            self.look()
        self._save_if_due()

    def _means(self) -> dict[str, float]:
        return {name: total.item() / self.summed for name, total in self.sums.items()}

    def _check(self) -> None:
        """Stop when a loss is not finite; say how it goes."""
        means = self._means()
        bad = [f"{name} is {value}" for name, value in means.items() if not math.isfinite(value)]
        if bad:
            self._refuse(f"the loss {', '.join(bad)}")
        rate = (self.images - self.recorded_images) / max(time.perf_counter() - self.last_record, 1e-9)
        losses = ", ".join(f"{name} {value:.4g}" for name, value in means.items())
        self.bar.advance(self.step - self.bar.done, f"{losses}, {rate:,.0f} images/s")

    def _refuse(self, what: str) -> None:
        kept = f"the model of step {self.kept_step} is kept" if self.kept_step else "no model was kept yet"
        raise UserError(
            f"{self.run.folder}, step {self.step}: {what}; {kept}. "
            "Begin another --run with a lower --learning-rate, or with --precision fp32"
        )

    def _record(self) -> None:
        now = time.perf_counter()
        seconds, images = now - self.last_record, self.images - self.recorded_images
        record = {
            "step": self.step,
            "epoch": round(self.step / self.loader.batches_per_epoch, 3),
            "images": self.images,
            "learning_rate": self.learner.learning_rate(self.step - 1),
            **self._means(),
            "seconds": round(seconds, 2),
            "images_per_second": round(images / max(seconds, 1e-9), 1),
        }
        append_history(self.run.folder / "history.jsonl", record)
        self._begin_record()

    def _begin_record(self) -> None:
        self.sums, self.summed = {}, 0
        self.last_record, self.recorded_images = time.perf_counter(), self.images

    # -- looking -------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Write a sheet of samples; keep the model unless its pictures have become all alike."""
        start = time.perf_counter()
        with self.learner.evaluated() as model:
            # A finite loss can have had a gradient that is not: the weights are bad one step before the loss is.
            if not all(bool(weight.isfinite().all()) for weight in model.parameters()):
                self._refuse("weights are no longer finite")
            self.sheet.settle(model)
            diversity = self.sheet.write(model, self.step)
            is_good = self.watch.check(diversity, self.step, self.total_steps)
            # A model from before the pruning ended is larger than was asked for, however good its pictures.
            is_kept_too_large = self.learner.is_pruned(self.step) and not self.learner.is_pruned(self.kept_step)
            if is_good or not self.kept_step or is_kept_too_large:
                self.kept_step = self.step
                source, resize = self.run.pictures.places["data"], self.settings.resize
                generator = Generator(self.run.design, self.step, resize, source, self.run.precision)
                save_generator(self.run.folder, model, generator)
        append_history(self.run.folder / "history.jsonl", {"step": self.step, "diversity": diversity.mean})
        self._warn(diversity)
        write_losses(self.run.folder, read_history(self.run.folder / "history.jsonl"))
        self.last_record += time.perf_counter() - start  # looking is not training: the pace stays that of the steps

    def _warn(self, diversity: Diversity) -> None:
        """Say of a collapse, once."""
        if self.watch.bad_checks == PATIENCE:
            kept = f"the model of step {self.kept_step} is kept"
            outcome = kept if self.watch.has_been_good else "they never differed more"
            self._say_collapse("one class", diversity.mean, outcome)
        for name, checks in self.watch.alike_checks.items():
            if checks == PATIENCE:
                self._say_collapse(name, diversity.by_class[name], "the other classes go on")

    def _say_collapse(self, what: str, share: float, outcome: str) -> None:
        print(
            f"step {self.step}: mode collapse: pictures of {what} differ {share:.2f} times as much as real ones, "
            f"for {PATIENCE} checks; {outcome}",
            flush=True,
        )

    def finish(self) -> dict[str, Any]:
        """Write the result that marks the run as finished."""
        history = read_history(self.run.folder / "history.jsonl")
        result = {
            "steps": self.step,
            "images": self.images,
            "kept_step": self.kept_step,
            "is_collapsed": self.watch.is_collapsed,
            "alike_classes": self.watch.alike_classes,
            "diversity": [record["diversity"] for record in history if "diversity" in record][-1],
            "parameters": self.learner.nonzero_parameters(),
            "losses": _last_losses(history),
            "seconds": round(sum(record.get("seconds", 0.0) for record in history), 1),
        }
        write_json(self.run.folder / "result.json", result)
        (self.run.folder / "state.pt").unlink(missing_ok=True)
        return result

    # -- going on after a kill -----------------------------------------------------------------------------

    def save(self) -> None:
        """Write the whole state."""
        state = {
            "step": self.step,
            "images": self.images,
            "sums": self.sums,
            "summed": self.summed,
            "kept_step": self.kept_step,
            "watch": vars(self.watch),
            "learner": self.learner.state_dict(),
        }
        save_state(self.run.folder, state)
        self.last_save = time.perf_counter()

    def restore(self) -> None:
        """Go on from the saved state, if there is one; later records of the history are taken back."""
        state = load_state(self.run.folder, "run")
        if state is not None:
            self.learner.load_state_dict(state["learner"])
            self.step, self.images, self.kept_step = state["step"], state["images"], state["kept_step"]
            self.sums = {name: value.to(self.run.device) for name, value in state["sums"].items()}
            self.summed = state["summed"]
            self.recorded_images = self.images
            self.watch = Watch(**state["watch"])
            self.bar.skip(self.step)
            print(f"going on from step {self.step}", flush=True)
        history = self.run.folder / "history.jsonl"
        if history.exists():
            write_history(history, [record for record in read_history(history) if record["step"] <= self.step])

    def _save_if_due(self) -> None:
        if self.stop() and self.step < self.total_steps:
            self.save()
            raise Stopped
        if time.perf_counter() - self.last_save > SAVE_SECONDS:
            self.save()


def _last_losses(history: list[dict[str, Any]]) -> dict[str, float]:
    records = [record for record in history if "images_per_second" in record]
    return {name: value for name, value in records[-1].items() if name not in NO_LOSSES}
