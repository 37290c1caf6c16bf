"""``python -m competition VERB``: everything beside training, prediction and tuning."""

import importlib
import sys
from collections.abc import Sequence

from competition.cli import run_command
from competition.errors import UserError, did_you_mean

# Each verb is the module of its name under competition/verbs, imported when it is asked for.
VERBS = {
    "check": "look for everything wrong with a data set before any training",
    "generate": "train generative models, interpolate, export labelled folders, measure and judge them",
    "report": "one HTML page about a run: how good, where it errs and looks, what to do next",
    "look": "one picture of what a run's network sees: occlusion, cam, gradients, activations, dream",
    "score": "score a submission CSV against a truth CSV",
    "compare": "two or more runs on the same images: difference, interval, chance that one is better",
    "leaderboard": "every submission with its scores, and the final two",
    "kaggle": "download a competition, submit a CSV, push a notebook that trains a run",
    "host": "make a competition of labelled folders: train, test, hidden solution",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Find the verb and run it."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print("usage: python -m competition VERB ... (VERB --help explains)\n")
        for name, summary in VERBS.items():
            print(f"  {name:<12} {summary}")
        return 0
    if words[0] not in VERBS:
        from competition.verbs.generate import SUBVERBS

        hint = f" (did you mean 'generate {words[0]}'?)" if words[0] in SUBVERBS else did_you_mean(words[0], VERBS)
        raise UserError(f"unknown verb {words[0]!r}{hint}; there are {', '.join(VERBS)}")
    verb = importlib.import_module(f"competition.verbs.{words[0]}")
    return int(verb.main(words[1:]))


if __name__ == "__main__":
    run_command(main)
