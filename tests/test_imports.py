"""The direction of imports: ground <- data, models <- training... <- scripts; never upwards."""

import ast

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "competition"
# Each module may import from its own line and from those above it.
FLOORS = [
    ["errors"],
    ["settings", "metrics", "process", "progress", "runs", "torchvision_operators", "page", "state", "stop"],
    ["config"],
    ["cli"],
    ["data", "class_weights"],
    ["folds", "predictions", "models"],
    ["precision", "memory"],
    [
        "ensemble",
        "decision",
        "comparison",
        "submission",
        "shares",
        "scoring",
        "logbook",
        "leaderboard",
        "kaggle",
        "kaggle_notebook",
        "hosting",
        "inference",
    ],
    ["checkpoint"],
    ["prediction"],
    ["training"],
    ["tuning", "judging"],
    ["generative", "analysis"],
    ["verbs"],
    ["__main__"],
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
WINGS = {"generative", "analysis"}


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text())):
        modules = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("competition"):
            modules = [node.module] if node.module != "competition" else [f"competition.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names if alias.name.startswith("competition.")]
        for module in modules:
            parts = module.split(".")
            if len(parts) > 1:
                yield parts[1], node.lineno


def test_every_module_has_its_place():
    unknown = {room(path) for path in PACKAGE.rglob("*.py")} - set(LEVEL) - {"__init__"}
    assert not unknown


def test_imports_point_down_only():
    upward = []
    for path in PACKAGE.rglob("*.py"):
        own = room(path)
        if own == "__init__":
            continue
        for other, line in imported_rooms(path):
            # The verbs are the wings' doors; nothing else opens them, least of all the other wing.
            is_shut = other in WINGS and own not in (other, "verbs")
            if other in LEVEL and (LEVEL[other] > LEVEL[own] or is_shut):
                upward.append(f"{path.relative_to(REPOSITORY)}:{line} imports {other}")
    assert not upward
