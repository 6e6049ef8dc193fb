"""Print what the named extra of pyproject.toml installs, without the package itself: a layer that only pins change."""

import sys
import tomllib
from pathlib import Path


def requirements(project: dict, extra: str) -> list[str]:
    """The requirements of ``extra`` (empty = the base install); extras that name the package are followed."""
    found: list[str] = []
    for line in project["optional-dependencies"][extra] if extra else project["dependencies"]:
        if line.startswith(project["name"] + "["):
            for inner in line.partition("[")[2].partition("]")[0].split(","):
                found += requirements(project, inner.strip())
        else:
            found.append(line)
    return found


if __name__ == "__main__":
    content = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    lines = requirements(content, "") + requirements(content, sys.argv[1])
    sys.stdout.write("\n".join(dict.fromkeys(lines)) + "\n")
