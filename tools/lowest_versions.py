"""The lowest versions that the package asks for, as constraints for pip: ``make lowest`` tests them."""

import tomllib
from pathlib import Path


def main() -> None:
    """Print them, a line each; what an extra asks for counts where it is installed."""
    path = Path(__file__).parent.parent / "pyproject.toml"
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {one for group in groups for one in group if ">=" in one}
    for one in sorted(wanted):
        print(one.replace(">=", "=="))


if __name__ == "__main__":
    main()
