"""What to do next: short sentences made from the findings by stated rules, the most urgent first."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from competition.analysis.learning import Fit
from competition.analysis.mistakes import is_worth_asking, look_wrong
from competition.analysis.trust import NOT_OFF

Findings = Mapping[str, Any]  # the JSON twin of the page

LEAST_WRONG_LABELS = 0.01  # share of the images
LEAST_PAIR = 0.1  # share of two classes' images that are taken for one another
CALIBRATION_LARGE = 0.1
FRAGILE = -0.1  # macro F1 lost to one small corruption
BASELINE_MARGIN = 0.05  # macro F1 above the baseline; this close to 1 a network need not be above it


def advise(findings: Findings) -> list[str]:
    """Return what the findings ask for; one sentence at least."""
    rules: list[Callable[[Findings], Iterator[str]]] = [
        _unfinished, _barely_learned, _fit, _still_gaining, _wrong_labels, _conflicts, _pairs, _shift, _fragile,
        _calibration,
    ]  # fmt: skip
    found = [sentence for rule in rules for sentence in rule(findings)]
    return found or ["Nothing stands out. Average more networks: other seeds, another architecture, larger pictures."]


def _unfinished(findings: Findings) -> Iterator[str]:
    missing = findings["score"]["folds_missing"]
    if missing:
        numbers = ", ".join(str(fold) for fold in missing)
        which = f"Fold {numbers} is" if len(missing) == 1 else f"Folds {numbers} are"
        yield f"{which} not finished: the same train.py command goes on; the score is of the rest."


def _barely_learned(findings: Findings) -> Iterator[str]:
    score, baseline = findings["score"]["macro_f1"], findings["score"]["baseline_macro_f1"]
    if baseline is not None and score < min(baseline + BASELINE_MARGIN, 1 - BASELINE_MARGIN):
        word = "hardly better" if score > baseline else "no better"
        yield (
            f"The network ({score:.3f}) is {word} than a linear model on 8 x 8 px thumbnails ({baseline:.3f}): "
            "look for a mistake in the data or the learning rate before anything else."
        )


def _fit(findings: Findings) -> Iterator[str]:
    fit = _fit_of(findings)
    if fit is None:
        return
    figures = f"macro F1 {fit.seen:.3f} on images it saw, {fit.held_out:.3f} on others"
    if fit.verdict == "underfits":
        yield f"It underfits ({figures}): train longer (--epochs), or take a larger network or larger pictures."
    elif fit.verdict == "overfits":
        yield (
            f"It overfits ({figures}): more augmentation (--augment heavy, --mix cutmix), more data, or weights that "
            "know pictures already (--weights pretrained)."
        )


def _fit_of(findings: Findings) -> Fit | None:
    found = findings["learning"]["fit"]
    return None if found is None else Fit(**found)


def _still_gaining(findings: Findings) -> Iterator[str]:
    rise, fit = findings["learning"]["rise_at_the_end"], _fit_of(findings)
    underfits = fit is not None and fit.verdict == "underfits"  # which already asks for more epochs
    if rise is not None and not underfits:
        yield f"The score still rose when training ended (by {rise:.3f}): try more --epochs."


def _wrong_labels(findings: Findings) -> Iterator[str]:
    wrong, score = findings["mistakes"]["likely_wrong_labels"], findings["score"]
    if wrong is None or not is_worth_asking(score["accuracy"], score["classes"]):
        return
    if wrong["count"] >= max(1, LEAST_WRONG_LABELS * score["rows"]):
        yield (
            f"{look_wrong(wrong['count'])} ({wrong['count'] / score['rows']:.0%} of the images): "
            "go through the list, worst first, and mend the sure ones."
        )


def _conflicts(findings: Findings) -> Iterator[str]:
    for problem in findings["mistakes"]["data_problems"]:
        if "several labels" in problem["kind"]:
            yield f"{problem['kind'].capitalize()}: {problem['message']} Decide on one label for each."


def _pairs(findings: Findings) -> Iterator[str]:
    pairs = [pair for pair in findings["mistakes"]["confused_pairs"] if pair["share"] >= LEAST_PAIR]
    if pairs:
        named = "; ".join(f"{pair['first']} and {pair['second']} ({pair['share']:.0%})" for pair in pairs[:3])
        yield (
            f"Most confused: {named}. Compare their images below: are the labels right, and can the difference be "
            "seen at this --image-size?"
        )


def _shift(findings: Findings) -> Iterator[str]:
    shift = findings["trust"]["shift"]
    if shift is not None and shift["is_clear"]:
        yield (
            f"Test images differ from training images (a classifier tells them apart with AUC {shift['auc']:.2f}): "
            "expect less on the leaderboard, and augment towards the test images."
        )


def _fragile(findings: Findings) -> Iterator[str]:
    worst = findings["trust"]["worst_corruption"]
    if worst is not None and worst["difference"] < FRAGILE:
        yield (
            f"It is fragile: {worst['name']} costs {-worst['difference']:.3f} macro F1. If test images could look like "
            "that, augment with it."
        )


def _calibration(findings: Findings) -> Iterator[str]:
    found = findings["trust"]["calibration"]
    if found["error"] > CALIBRATION_LARGE and found["verdict"] != NOT_OFF:
        yield (
            f"Its probabilities are {found['verdict']} (off by {found['error']:.2f} on average): do not read them as "
            "chances. Labels, and so macro F1, are not touched by it."
        )
