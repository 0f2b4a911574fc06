from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from imatch.matchers import MATCHERS
from imatch.models.weights import WEIGHTS, Bundled

Run = Callable[..., Result]


def test_the_table_has_a_line_for_every_matcher(run: Run, empty_cache: Path) -> None:
    result = run("matchers")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["name", "kind", "weights", "licence", "what"]
    assert [line.split()[0] for line in lines[1:]] == list(MATCHERS)
    for line in lines[1:]:
        row = MATCHERS[line.split()[0]]
        away = [w for w in row.weights if not isinstance(WEIGHTS[w].source, Bundled)]
        state = "missing" if away else "present" if row.weights else "none needed"
        assert state in line
        assert row.licence in line


def test_json_tells_the_state_of_each_weight(run: Run, empty_cache: Path) -> None:
    empty_cache.mkdir(parents=True)
    (empty_cache / "xfeat.pt").write_bytes(b"half a downl")
    rows = {row["name"]: row for row in json.loads(run("matchers", "--format", "json").stdout)}
    assert list(rows) == list(MATCHERS)
    both = rows["xfeat-lighterglue"]
    assert both["weights"] == {"xfeat": "corrupt", "xfeat-lighterglue": "missing"}
    assert both["state"] == "corrupt"
    assert rows["aliked-lightglue"]["state"] == "missing"
    assert rows["sift"] == {
        "name": "sift",
        "kind": "sparse",
        "weights": {},
        "state": "present",
        "licence": MATCHERS["sift"].licence,
        "summary": MATCHERS["sift"].summary,
    }
