from __future__ import annotations

import json
from typing import TYPE_CHECKING

from modpm.core.formats.manifest import ClassMetrics
from modpm.registry.discovery.outdated import outdated
from modpm.registry.installing.installation import install

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.conftest import Put


def test_what_fits_is_told_from_the_newest(put: Put, project: Path, registry: Path) -> None:
    put("digits/cat")
    put("digits/pets", requires=["digits/cat<3"])
    put("mnist/7")
    install(["digits/cat<4", "digits/pets", "mnist/7"], project, registry)
    for version in ("2.0.0", "3.0.0", "5.0.0rc1"):
        put("digits/cat", version)

    found = {str(s.name): (s.version, s.fitting, s.newest) for s in outdated(project)}

    assert found == {
        "digits/cat": ("1.0.0", "2.0.0", "3.0.0"),
        "digits/pets": ("1.0.0", "1.0.0", "1.0.0"),
        "mnist/7": ("1.0.0", "1.0.0", "1.0.0"),
    }
    assert [str(s.name) for s in outdated(project) if s.is_outdated] == ["digits/cat"]


def test_the_change_of_accuracy_is_that_of_the_release_that_would_come(
    put: Put, project: Path, registry: Path
) -> None:
    put("digits/cat", recall=0.5)
    install(["digits/cat<3"], project, registry)
    put("digits/cat", "3.0.0", recall=0.75)

    def recalls() -> list[tuple[float, ...]]:
        (standing,) = outdated(project)
        return [
            tuple(one.recall for one in change if isinstance(one, ClassMetrics))
            for change in standing.measured
        ]

    assert recalls() == [(0.5, 0.75)]
    put("digits/cat", "2.0.0", recall=0.625)
    assert recalls() == [(0.5, 0.625)]


def test_a_yanked_release_is_outdated_whatever_else_there_is(
    put: Put, project: Path, registry: Path
) -> None:
    put("digits/cat")
    install(["digits/cat"], project, registry)
    path = registry / "digits" / "cat" / "index.json"
    index = json.loads(path.read_bytes())
    index["releases"][0]["yanked"] = "wrong labels"
    path.chmod(0o644)
    path.write_text(json.dumps(index))

    (standing,) = outdated(project)

    assert standing.is_outdated
    assert (standing.yanked, standing.fitting, standing.newest) == ("wrong labels", None, None)


def test_nothing_in_the_project_is_touched(put: Put, project: Path, registry: Path) -> None:
    put("digits/cat")
    install(["digits/cat"], project, registry)
    put("digits/cat", "1.1.0")
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*")}

    outdated(project)

    assert {path: path.stat().st_mtime_ns for path in project.rglob("*")} == before
