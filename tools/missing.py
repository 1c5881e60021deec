"""Lists the requirements that the running interpreter's environment does not satisfy.

Prints JSON: {"torch": its version or null, "absent": [lines], "too_old": [[line, version found]]}.
"""

import importlib.metadata
import json
import sys
from pathlib import Path

try:
    from packaging.requirements import Requirement
except ImportError:  # every pip carries a copy
    from pip._vendor.packaging.requirements import Requirement


def installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def report(files: list[str]) -> dict:
    """The requirements in ``files`` that are absent, or present in a wrong version."""
    absent, too_old = [], []
    for file in files:
        for line in Path(file).read_text(encoding="utf-8").splitlines():
            line = line.split("#")[0].strip()
            if not line:
                continue
            requirement = Requirement(line)
            if requirement.marker and not requirement.marker.evaluate():
                continue
            version = installed(requirement.name)
            if version is None:
                absent.append(line)
            elif not requirement.specifier.contains(version, prereleases=True):
                too_old.append([line, version])
    return {"torch": installed("torch"), "absent": absent, "too_old": too_old}


if __name__ == "__main__":
    print(json.dumps(report(sys.argv[1:])))
