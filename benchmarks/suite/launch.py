"""``python launch.py '{…}'``, from anywhere: an agent whose Haven is that of another checkout and whose benchmarks are these.

Both sides of a comparison are measured by the same benchmarks, of the checkout that this file is in; `haven`, `extensions`,
`workers` and `config` come from the checkout that is named.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent


def main() -> None:
    """Be the agent that the argument describes."""
    asked = json.loads(sys.argv[1])
    sys.path[0] = asked["checkout"]
    spec = importlib.util.spec_from_file_location(
        "benchmarks", HERE / "__init__.py", submodule_search_locations=[str(HERE)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{HERE} cannot be imported")
    package = importlib.util.module_from_spec(spec)
    sys.modules["benchmarks"] = package
    spec.loader.exec_module(package)
    from benchmarks.suite.agent import serve

    serve(asked)


if __name__ == "__main__":
    main()
