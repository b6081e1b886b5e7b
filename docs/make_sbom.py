"""Write what a release consists of: a CycloneDX 1.5 list of synthrelease and every package that it needs to run.

    python docs/make_sbom.py dist/sbom.cdx.json

It describes the environment that it runs in: names, versions, declared licences and who needs whom, without the
packages that only developers need. Equal environments give equal bytes.
"""

from __future__ import annotations

import json
import re
import sys
import uuid
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = "synthrelease"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def sbom(root: str = ROOT) -> dict[str, Any]:
    """Return the CycloneDX document of a package and all that it needs in this environment."""
    found = {name: metadata.distribution(name) for name in sorted(_closure(root))}
    listed = [_component(name, one) for name, one in found.items() if name != root]
    needs = [{"ref": _ref(name, one), "dependsOn": _refs(one, found)} for name, one in found.items()]
    content: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": _component(root, found[root]) | {"type": "application"}},
        "components": listed,
        "dependencies": needs,
    }
    text = json.dumps(content, sort_keys=True)
    return content | {"serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, text)}"}


def _closure(root: str) -> set[str]:
    """Return the normal names of a package and of everything installed that it needs, extras left out."""
    wanted, known = [_normal(root)], set[str]()
    while wanted:
        name = wanted.pop()
        if name not in known:
            known.add(name)
            wanted += _needs(metadata.distribution(name))
    return known


def _needs(one: metadata.Distribution) -> Iterator[str]:
    """Yield the installed packages that a package names without an extra; markers choose by what is installed."""
    for line in one.requires or ():
        name, (_, _, marker) = _NAME.match(line), line.partition(";")
        if name is None or re.search(r"\bextra\s*==", marker):
            continue
        try:
            metadata.distribution(name[0])
        except metadata.PackageNotFoundError:  # for another system or another version of Python
            continue
        yield _normal(name[0])


def _component(name: str, one: metadata.Distribution) -> dict[str, Any]:
    about = one.metadata
    expression = about.get("License-Expression")
    stated = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or () if line.startswith("License ::")]
    licences = [{"expression": expression}] if expression else [{"license": {"name": text}} for text in sorted(stated)]
    return {
        "type": "library",
        "bom-ref": _ref(name, one),
        "name": about["Name"],
        "version": one.version,
        "purl": _ref(name, one),
        **({"licenses": licences} if licences else {}),
    }


def _refs(one: metadata.Distribution, found: dict[str, metadata.Distribution]) -> list[str]:
    return sorted({_ref(name, found[name]) for name in _needs(one)})


def _ref(name: str, one: metadata.Distribution) -> str:
    return f"pkg:pypi/{name}@{one.version.replace('+', '%2B')}"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "dist/sbom.cdx.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(sbom(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{target}: {len(sbom()['components'])} packages")
