"""The lowest versions that the package asks for, as constraints for pip: ``make lowest`` tests them."""

import tomllib
from pathlib import Path


def main() -> None:
    """Print them, a line each; what an extra asks for counts where it is installed."""
    path = Path(__file__).parent.parent / "pyproject.toml"
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {requirement for group in groups for requirement in group if ">=" in requirement}
    for requirement in sorted(wanted):
        print(requirement.replace(">=", "=="))


if __name__ == "__main__":
    main()
