"""Members -> the ensemble that joins them, fitted on their out-of-fold predictions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competition import decision as decisions
from competition import metrics
from competition.ensemble import report
from competition.ensemble.combination import Combination, single
from competition.ensemble.selection import Selection, select_ensemble
from competition.ensemble.stack import Stack, join_members, outer_folds
from competition.errors import counted
from competition.prediction.members import Member
from competition.predictions import Predictions


@dataclass(frozen=True)
class FittedEnsemble:
    """How the members are joined, and what that is worth.

    Attributes:
        members: M of them.
        combination: a weight for each member.
        nested: out-of-fold predictions of the ensemble, each row by weights that did not see its label; ``folds``
            are the outer folds.
        selection: the estimates behind the choice; None with a single member, where nothing is fitted.
    """

    members: Sequence[Member]
    combination: Combination
    nested: Predictions
    selection: Selection | None

    @property
    def used(self) -> list[Member]:
        """The members whose weight is not 0."""
        return [self.members[number] for number in self.combination.used]


def fit_ensemble(members: Sequence[Member], method: str) -> FittedEnsemble:
    """Fit ``--ensemble`` and print what was found.

    Raises:
        UserError: no image that all members predicted out of fold, or members that disagree about labels.
    """
    for member in members:
        for caution in member.cautions:
            print(f"note: {member.folder}: {caution}", flush=True)
    if len(members) == 1:
        nested = members[0].out_of_fold()
        nested = replace(nested, folds=outer_folds(nested))
        print(f"one member, {members[0].folder}: nothing to join but its folds", flush=True)
        return FittedEnsemble(members, single(0, 1), nested, None)
    names = [str(member.folder) for member in members]
    stack = join_members(names, [member.out_of_fold for member in members])
    print(_heading(stack), flush=True)
    selection = select_ensemble(stack, method)
    print(report.table(selection))
    if method == "auto":
        print(report.reason(selection))
    print(f"weights: {report.weights(selection.combination, names)}", flush=True)
    nested = Predictions(stack.image_ids, stack.class_names, selection.chosen.probabilities, stack.labels, stack.folds)
    return FittedEnsemble(members, selection.combination, nested, selection)


@dataclass(frozen=True)
class FittedDecision:
    """How probabilities become classes, and what ensemble and decision are worth together.

    Attributes:
        decision: fitted on all out-of-fold rows.
        counts: (K, K) confusion table of the out-of-fold rows, each decided by what did not see its label.
        class_names: K names.
    """

    decision: decisions.Decision
    counts: metrics.Counts
    class_names: tuple[str, ...]

    @property
    def shares(self) -> dict[str, int]:
        """How often each class was predicted out of fold."""
        return dict(zip(self.class_names, self.counts.sum(axis=0).tolist(), strict=True))

    def score(self) -> dict[str, Any]:
        """Return macro F1 with its interval, and the counts behind it, as plain data."""
        return {
            "macro_f1": metrics.macro_f1(self.counts),
            "interval_95": metrics.bootstrap_interval(self.counts).plain(),
            "rows": int(self.counts.sum()),
            "confusion": self._confusion(),
        }

    def _confusion(self) -> dict[str, dict[str, int]]:
        """Return {true class: {predicted class: rows}}, without empty cells."""
        return {
            name: {self.class_names[k]: int(row[k]) for k in np.flatnonzero(row)}
            for name, row in zip(self.class_names, self.counts, strict=True)
        }


def fit_decision(ensemble: FittedEnsemble, kind: decisions.Kind) -> FittedDecision:
    """Fit ``--decide`` on the ensemble's nested out-of-fold probabilities, and print what it gains."""
    nested = ensemble.nested
    assert nested.labels is not None
    assert nested.folds is not None
    decision = decisions.fit_decision(kind, nested.probabilities, nested.labels, nested.folds)
    if kind != "argmax":
        print(f"decision: {decision.describe()}", flush=True)
    counts = metrics.confusion(nested.labels, _nested_decisions(nested, decision), len(nested.class_names))
    return FittedDecision(decision, counts, nested.class_names)


def _nested_decisions(nested: Predictions, decision: decisions.Decision) -> NDArray[np.int64]:
    """Decide the rows of each outer fold by what the other folds choose, whether to keep it included. -> (N,)."""
    if decision.kind == "argmax":
        return nested.probabilities.argmax(axis=1)
    assert nested.labels is not None
    assert nested.folds is not None
    result = np.empty(len(nested.labels), np.int64)
    for fold in np.unique(nested.folds):
        others = nested.rows(np.flatnonzero(nested.folds != fold))
        assert others.labels is not None
        inner = outer_folds(replace(others, folds=None))  # dealt anew: of two outer folds one is left
        fitted = decisions.fit_decision(decision.asked, others.probabilities, others.labels, inner)
        rows = np.flatnonzero(nested.folds == fold)
        result[rows] = fitted.apply(nested.probabilities[rows])
    return result


def _heading(stack: Stack) -> str:
    folds = counted(len(np.unique(stack.folds)), "outer fold")
    images = counted(len(stack.image_ids), "out-of-fold image")
    return f"{counted(len(stack.names), 'member')} on {images}, nested in {folds}:"
