"""Each rule of the advice fires on its finding and keeps quiet without it."""

import copy

import pytest

from competition.analysis.advice import advise

GOOD = {
    "score": {
        "macro_f1": 0.9,
        "accuracy": 0.9,
        "rows": 1000,
        "classes": 10,
        "folds_missing": [],
        "baseline_macro_f1": 0.3,
    },
    "learning": {"fit": {"images": 1000, "seen": 0.95, "held_out": 0.9}, "rise_at_the_end": None},
    "mistakes": {
        "likely_wrong_labels": {"count": 5},
        "data_problems": [{"kind": "exact duplicates in train", "message": "2 images."}],
        "confused_pairs": [{"first": "cat", "second": "dog", "share": 0.05}],
    },
    "trust": {
        "shift": {"is_clear": False, "auc": 0.5},
        "worst_corruption": {"name": "no colour", "difference": -0.05},
        "calibration": {"error": 0.02, "verdict": "too sure"},
    },
}


def test_one_doubtful_label_is_one():
    findings = changed(("mistakes", "likely_wrong_labels", "count"), 1)
    findings["score"]["rows"] = 50
    assert "1 label looks wrong (2% of the images)" in advise(findings)[0]


def test_a_good_run_gets_one_general_sentence():
    (sentence,) = advise(GOOD)
    assert "Nothing stands out" in sentence


RULES = [
    (("score", "folds_missing"), [2], "Fold 2 is not finished"),
    (("score", "folds_missing"), [1, 3], "Folds 1, 3 are not finished"),
    (("score", "baseline_macro_f1"), 0.88, "hardly better than a linear model"),
    (("score", "baseline_macro_f1"), 0.95, "no better than a linear model"),
    (("learning", "fit"), {"images": 1000, "seen": 0.6, "held_out": 0.55}, "It underfits"),
    (("learning", "fit"), {"images": 1000, "seen": 1.0, "held_out": 0.6}, "It overfits"),
    (("learning", "rise_at_the_end"), 0.1, "still rose when training ended (by 0.100)"),
    (("mistakes", "likely_wrong_labels", "count"), 30, "30 labels look wrong (3% of the images)"),
    (("mistakes", "data_problems", 0, "kind"), "near duplicates under several labels", "Near duplicates under several"),
    (("mistakes", "confused_pairs", 0, "share"), 0.2, "Most confused: cat and dog (20%)"),
    (("trust", "shift"), {"is_clear": True, "auc": 0.8}, "AUC 0.80"),
    (("trust", "worst_corruption", "difference"), -0.2, "It is fragile: no colour costs 0.200"),
    (("trust", "calibration"), {"error": 0.2, "verdict": "too modest"}, "probabilities are too modest (off by 0.20"),
]


def changed(path, value):
    findings = copy.deepcopy(GOOD)
    place = findings
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return findings


@pytest.mark.parametrize(("path", "value", "words"), RULES)
def test_each_finding_has_its_advice(path, value, words):
    (sentence,) = advise(changed(path, value))
    assert words in sentence


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("score", "baseline_macro_f1"), None),
        (("learning", "fit"), None),
        (("mistakes", "likely_wrong_labels"), None),
        (("trust", "shift"), None),
        (("trust", "worst_corruption"), None),
        (("trust", "calibration"), {"error": 0.2, "verdict": "not off beyond chance"}),
    ],
)
def test_what_was_left_out_or_may_be_chance_gives_no_advice(path, value):
    assert advise(changed(path, value)) == advise(GOOD)


@pytest.mark.parametrize(("score", "baseline", "is_told"), [(1.0, 1.0, 0), (0.96, 0.94, 0), (0.92, 1.0, 1)])
def test_near_the_ceiling_no_margin_over_the_baseline_is_asked_for(score, baseline, is_told):
    findings = changed(("score", "baseline_macro_f1"), baseline)
    findings["score"]["macro_f1"] = score
    assert ("linear model" in advise(findings)[0]) == is_told


@pytest.mark.parametrize(
    ("accuracy", "classes", "is_asked"),
    [(0.4, 10, False), (0.65, 10, True), (0.62, 100, True), (0.61, 2, False), (0.79, 2, False), (0.81, 2, True)],
)
def test_a_weak_network_is_not_asked_about_labels(accuracy, classes, is_asked):
    findings = changed(("mistakes", "likely_wrong_labels", "count"), 400)
    findings["score"].update(accuracy=accuracy, classes=classes)
    assert ("400 labels look wrong" in advise(findings)[0]) == is_asked
