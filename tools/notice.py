"""Writes which packages an installation brings along, and their licenses, into NOTICE.

    python tools/notice.py            # rewrites the lists
    python tools/notice.py --check    # ends with 1 if they are not current

All that the requirements of pyproject.toml pull in, and what each extra asks for, is read from the metadata
of what is installed here; what is not keeps the license that NOTICE has for it. The rest is written by hand.
"""

import argparse
import re
import sys
import textwrap
import tomllib
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "--- Lists by tools/notice.py ---"
END = "--- End of the lists ---"
# What maintainers write for the same license.
_LICENSES = {
    "Apache 2.0": "Apache-2.0", "Apache Software License": "Apache-2.0", "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0", "Apache": "Apache-2.0", "Apache-2": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0", "Apache-2.0 License": "Apache-2.0", "ISC License": "ISC",
    "MIT License": "MIT", "The MIT License": "MIT", "3-Clause BSD License": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause", "BSD License": "BSD-3-Clause", "BSD": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC", "Python Software Foundation License": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}  # fmt: skip
# These say nothing in their metadata that is one license's name; from their license files.
_BY_HAND = {"matplotlib": "PSF-based", "torch": "BSD-3-Clause", "misaki": "Apache-2.0"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the lists, or say whether they are current."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    path = ROOT / "NOTICE"
    before = path.read_text(encoding="utf-8")
    head, _, rest = before.partition(BEGIN)
    tail = rest.partition(END)[2]
    after = f"{head}{BEGIN}\n\n{lists(before)}\n{END}{tail}"
    if options.check:
        if after != before:
            print("NOTICE is not current: python tools/notice.py", file=sys.stderr)
        return int(after != before)
    path.write_text(after, encoding="utf-8")
    return 0


def lists(notice: str) -> str:
    """A paragraph of all that comes along, and one of what each extra asks for. What is not installed here
    keeps the license that ``notice`` has for it.
    """
    known = dict(re.findall(r"([\w.-]+)\s\(([^()]*)\)", notice.partition(BEGIN)[2].partition(END)[0]))
    paragraphs = []
    for extra, requirements in _requirements().items():
        names = {_plain(Requirement(text).name) for text in requirements} if extra else closure(requirements)
        if extra != "dev":
            paragraphs.append(_paragraph(extra or "Always", names, known))
    return "\n".join(paragraphs)


def closure(requirements: Sequence[str]) -> set[str]:
    """The names of all packages that ``requirements`` pull in, themselves among them."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        name = _plain(requirement.name)
        if name in found or name == "nim4asr":
            continue
        found.add(name)
        waiting += _required(name, requirement.extras)
    return found


def license_of(name: str) -> str | None:
    """The license of an installed package, in the words of SPDX where they can be told; None if it is not
    installed.
    """
    package = _installed(name)
    if package is None:
        return None
    if name in _BY_HAND:
        return _BY_HAND[name]
    metadata = package.metadata
    said = next((metadata[key] for key in ("License-Expression", "License") if key in metadata), "")
    if not said or len(said) > 60 or "\n" in said:
        classes = [
            c.rpartition(" :: ")[2] for c in metadata.get_all("Classifier") or [] if c.startswith("License")
        ]
        said = " AND ".join(sorted({_LICENSES.get(one, one) for one in classes}))
    return _LICENSES.get(said, said) or "not stated"


def _requirements() -> dict[str, list[str]]:
    """The requirements of pyproject.toml, the core's under "", an extra's with those of the extras in it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]

    def spread(requirements: Sequence[str]) -> Iterator[str]:
        for text in requirements:
            requirement = Requirement(text)
            if requirement.name == "nim4asr":
                for extra in requirement.extras:
                    yield from spread(extras[extra])
            else:
                yield text

    return {"": project["dependencies"], **{extra: list(spread(texts)) for extra, texts in extras.items()}}


def _required(name: str, extras: set[str]) -> Iterator[Requirement]:
    package = _installed(name)
    for text in (package.requires or ()) if package else ():
        requirement = Requirement(text)
        environments = [{"extra": extra} for extra in ("", *extras)]
        if requirement.marker is None or any(map(requirement.marker.evaluate, environments)):
            yield requirement


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _paragraph(title: str, names: set[str], known: dict[str, str]) -> str:
    packages = [f"{name} ({license_of(name) or known.get(name, 'not stated')})" for name in sorted(names)]
    text = f"{title}: {'; '.join(packages)}."
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False) + "\n"


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main())
