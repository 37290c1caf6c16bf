"""Which network learns most from the same arithmetic? Every own network, the same recipe, one budget of multiply-adds.

A network of half the multiply-adds per picture gets twice the optimisation steps, up to --most-epochs passes, after
which more change little. All train on fold 0 of the same folds with the recipe of ``train.py``'s defaults (or the flags
after ``--``) and are scored on its held-out images.

    python benchmarks/network_per_flop.py --data PATH --scratch DIR --epochs 4
"""

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from competition.config import DataSettings
from competition.data.prepare import find_data, natural_size
from competition.models.factory import create_network, own_networks
from competition.training.optim import automatic_batch_size

REPOSITORY = Path(__file__).parent.parent
FOLDS = 5
RECIPE = ["--folds", str(FOLDS), "--only-folds", "0", "--views", "2", "--validate-every", "1000"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a competition: folder or zip")
    parser.add_argument("--scratch", type=Path, required=True, help="folder for runs; finished ones are kept")
    parser.add_argument("--epochs", type=float, default=4, help="of the default network: they set the budget")
    parser.add_argument("--most-epochs", type=int, default=60)
    parser.add_argument("--networks", nargs="+", default=own_networks())
    parser.add_argument("flags", nargs="*", metavar="-- FLAG", help="further flags for train.py")
    values = parser.parse_args()
    values.scratch.mkdir(parents=True, exist_ok=True)
    catalog = find_data(DataSettings(data=values.data))
    size, classes = natural_size(catalog), len(set(catalog.of("train")["label"]))
    images = len(catalog.of("train")) * (FOLDS - 1) // FOLDS
    budget = values.epochs * images * multiply_adds("resnet_fast", classes, size)
    print(f"budget: {budget / 1e12:.1f} T multiply-adds forward, {images:,} pictures of {size} px")
    for name in values.networks:
        cost = multiply_adds(name, classes, size)
        steps = max(1, round(min(budget / cost, values.most_epochs * images) / automatic_batch_size(images)))
        score = train(values.data, values.scratch, name, steps, values.flags)
        print(
            f"{name:14s} {cost / 1e6:7.1f} M multiply-adds, {steps:7,} steps, macro F1 {score['macro_f1']:.3f}, "
            f"{score['seconds'] / 60:.1f} min",
            flush=True,
        )


@torch.no_grad()
def multiply_adds(name: str, classes: int, size: int) -> int:
    """Return the multiply-adds of convolutions and dense layers for one picture."""
    network = create_network(name, classes, image_size=size).eval()
    counts: list[int] = []

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        counts.append(output.numel() * math.prod(weight.shape[1:]))

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    network(torch.zeros(1, 3, size, size))
    return sum(counts)


def train(data: Path, scratch: Path, name: str, steps: int, flags: list[str]) -> dict[str, float]:
    """Train fold 0, or read the finished one; returns its last macro F1 and the seconds of its training."""
    run = Path("runs") / f"{name}-{steps}"
    command = [sys.executable, str(REPOSITORY / "train.py"), "--data", str(data.resolve()), "--run", str(run)]
    with open(scratch / f"{name}.log", "w") as log:
        command += ["--model", name, "--steps", str(steps), *RECIPE, *flags]
        subprocess.run(command, cwd=scratch, stdout=log, stderr=subprocess.STDOUT, check=True)
    history = (scratch / run / "fold_0" / "history.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in history]
    return {"macro_f1": records[-1]["macro_f1"], "seconds": sum(record.get("seconds", 0) for record in records)}


if __name__ == "__main__":
    main()
