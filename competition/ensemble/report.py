"""An ensemble in words: the table of nested estimates, why this method, and the weights."""

from collections.abc import Sequence

from competition.ensemble.combination import Combination
from competition.ensemble.selection import Selection
from competition.errors import counted

SHOWN_WEIGHTS = 10


def table(selection: Selection) -> str:
    """Return one line per method: nested macro F1, its interval, and the difference to the chosen method."""
    lines = [f"  {'method':<10} {'macro F1':<9} {'95 % interval':<17} compared with {selection.chosen.method}"]
    for item, difference in zip(selection.estimates, selection.differences, strict=True):
        same = item is selection.chosen
        compared = "chosen" if same else f"{difference.value:+.4f} {difference.interval}"
        lines.append(f"  {item.method:<10} {item.macro_f1:<9.4f} {item.interval!s:<17} {compared}")
    return "\n".join(lines)


def reason(selection: Selection) -> str:
    """Return why "auto" took this method."""
    chosen, best = selection.chosen, max(selection.estimates, key=lambda item: item.macro_f1)
    if chosen is best:
        simpler = len(selection.estimates) > 1 and selection.estimates[0] is not chosen
        beyond = ", more than one standard error above anything simpler" if simpler else ""
        return f"{chosen.method}: the best estimate{beyond}"
    error = selection.differences[selection.estimates.index(best)].standard_error
    return (
        f"{chosen.method}: the simplest method within one standard error ({error:.4f}) of the best "
        f"({best.method}, {best.macro_f1:.4f})"
    )


def weights(combination: Combination, names: Sequence[str]) -> str:
    """Return the weight of each member that is used, largest first."""
    used = sorted(combination.used.tolist(), key=lambda member: -abs(combination.weights[member]))
    shown = [f"{names[member]} {combination.weights[member]:.3f}" for member in used[:SHOWN_WEIGHTS]]
    rest = len(used) - len(shown)
    unused = len(names) - len(used)
    return (
        ", ".join(shown)
        + (f" and {counted(rest, 'member')} more" if rest else "")
        + (f"; {counted(unused, 'member')} not used" if unused else "")
    )
