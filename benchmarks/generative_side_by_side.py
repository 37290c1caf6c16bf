"""Train a generative model with several seeds side by side on one GPU, each on a stream of its own.

  python benchmarks/generative_side_by_side.py --seeds 0,1,2 --run runs/flow --data PATH --model flow --steps 36000

Each seed gets the run that ``generate train --seed S --run runs/flow_S`` makes, and a killed one goes on. A step of so
small a model leaves most of a GPU idle: three take their steps in little more than the time of one.
"""

# ruff: noqa: E402
import contextlib
from pathlib import Path

from competition.process import settle

settle()  # before torch, as the scripts do

import torch

from competition.cli import Parser, add_settings, read_settings
from competition.generative.fit import Training
from competition.generative.run import open_run
from competition.generative.settings import GenerateSettings
from competition.runs import locked


def main() -> None:
    parser = Parser(__doc__ or "", prog="generative_side_by_side.py")
    parser.add_argument("--seeds", metavar="N,N,...", default="0,1,2", help="one run each")
    add_settings(parser, GenerateSettings)
    values = vars(parser.parse(None))
    seeds = [int(seed) for seed in values.pop("seeds").split(",")]
    settings = read_settings(GenerateSettings, values)
    base = settings.run or Path("runs") / settings.model
    with contextlib.ExitStack() as stack:
        trainings = []
        for seed in seeds:
            run = open_run(settings.replace(seed=seed, run=base.with_name(f"{base.name}_{seed}")))
            stack.enter_context(locked(run.folder / "lock", str(run.folder)))
            trainings.append(Training(run))
        take_in_turn(trainings)


def take_in_turn(trainings: list[Training]) -> None:
    """Take one step of each, again and again, until all are finished."""
    waiting = []
    for training in trainings:
        training.restore()
        is_on_gpu = training.run.device.type == "cuda"
        stream = torch.cuda.stream(torch.cuda.Stream()) if is_on_gpu else contextlib.nullcontext()
        waiting.append((training, stream, training.steps()))
    while waiting:
        for one in list(waiting):
            training, stream, steps = one
            with stream:
                if next(steps, None) is None:
                    training.finish()
                    waiting.remove(one)


if __name__ == "__main__":
    main()
