"""The schemas torchvision needs are there before it is imported, once, and only where they are missing."""

import subprocess
import sys


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_timm_imports_after_the_declaration_and_twice_is_harmless():
    code = (
        "from competition.torchvision_operators import declare_missing_operators as declare\n"
        "declare(); print(declare())\n"
        "import timm, torch\n"
        "print(hasattr(torch.ops.torchvision, 'nms'), declare())"
    )
    assert run(code).split() == ["[]", "True", "[]"]


def test_operators_that_exist_are_left_alone():
    code = (
        "from torch.library import Library\n"
        "import competition.torchvision_operators as module\n"
        "library = Library('torchvision', 'FRAGMENT')\n"
        "[library.define(schema) for schema in module.SCHEMAS.values()]\n"
        "print(module.declare_missing_operators())"
    )
    assert run(code).strip() == "[]"
