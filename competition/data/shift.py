"""Do the test images look like the training images? Brightness, contrast, sharpness, formats and sizes."""

import numpy as np
import pandas as pd

from competition.data.draft import Problem

SHIFT_THRESHOLD = 0.3  # difference of the means in standard deviations: visible, well above chance
SHARE_THRESHOLD = 0.2  # part of the test images with a format or size that the training images do not have so often
LEAST_FOR_SHIFT = 20  # images on each side


def shift(table: pd.DataFrame, facts: pd.DataFrame) -> list[Problem]:
    """Return one warning that names what differs; ``facts`` has one row per row of ``table``."""
    is_test = (table["split"] == "test").to_numpy()
    train, test = facts[~is_test], facts[is_test]
    if min(len(train), len(test)) < LEAST_FOR_SHIFT:
        return []
    chance = 3 * np.sqrt(1 / len(train) + 1 / len(test))  # three standard errors of the effect size
    rows = []
    for name, scale in (("brightness", np.asarray), ("contrast", np.log1p), ("sharpness", np.log1p)):
        first, second = (scale(part[name].to_numpy(np.float64)) for part in (train, test))
        spread = np.sqrt((first.var() + second.var()) / 2)
        effect = (second.mean() - first.mean()) / max(spread, 1e-6)
        if abs(effect) > max(SHIFT_THRESHOLD, chance):
            word = "higher" if effect > 0 else "lower"
            rows.append(f"{name} {abs(effect):.2f} standard deviations {word} in test")
    for name in ("format", "mode"):
        rows += _share_shift(name, train[name], test[name])
    sizes = [part["width"].astype(str) + "x" + part["height"].astype(str) for part in (train, test)]
    rows += _share_shift("size", sizes[0], sizes[1])
    if not rows:
        return []
    message = "The test images differ, so the out-of-fold score may promise too much. Augment towards them."
    return [Problem("train and test differ", message, rows, "warning")]


def _share_shift(name: str, train: pd.Series, test: pd.Series) -> list[str]:
    first, second = (part.value_counts(normalize=True) for part in (train, test))
    excess = second.sub(first, fill_value=0.0)
    share = float(excess[excess > 0].sum())
    if share <= SHARE_THRESHOLD or len(first) > 0.2 * len(train):  # sizes all different tell nothing
        return []
    return [f"{name} {excess.idxmax()} more often in test, {share:.0%} of the images moved"]
