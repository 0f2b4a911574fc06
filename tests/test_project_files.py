"""What stands around the package says the same as the package."""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment, StrictUndefined
from packaging.requirements import Requirement

import imatch

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))
FORMS = [path for path in sorted(GITHUB.glob("ISSUE_TEMPLATE/*.yml")) if path.stem != "config"]
#: Packages that conda-forge calls otherwise.
CONDA_NAMES = {
    "geopandas": "geopandas-base",
    "matplotlib": "matplotlib-base",
    "opencv-python-headless": "py-opencv",
    "torch": "pytorch",
}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def setup_cfg() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def pythons() -> list[str]:
    """The versions that the package says it runs on."""
    return re.findall(r"Python :: (3\.\d+)", setup_cfg()["metadata"]["classifiers"])


def recipe() -> Any:
    """The conda recipe as conda-build renders it."""
    variants = read_yaml(ROOT / "recipe/conda_build_config.yaml")
    names = {name: values[0] for name, values in variants.items()} | {"PYTHON": "python"}
    jinja = Environment(undefined=StrictUndefined, autoescape=True)
    return yaml.safe_load(jinja.from_string(text("recipe/meta.yaml")).render(names))


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        *(("vendor.github-workflows", path) for path in WORKFLOWS),
        ("vendor.dependabot", GITHUB / "dependabot.yml"),
        ("vendor.citation-file-format", ROOT / "CITATION.cff"),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_a_file_follows_its_schema(schema: str, path: Path) -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is of the extra `dev`")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_workflows_call_make_on_every_python() -> None:
    jobs = {name: job for path in WORKFLOWS for name, job in read_yaml(path)["jobs"].items()}
    run = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    called = {target for line in run for target in re.findall(r"\bmake ([a-z-]+)", line)}
    assert {"demo", "test", "docs", "package"} <= called
    assert called <= set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    assert jobs["test"]["strategy"]["matrix"]["python"] == pythons()


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_asks(path: Path) -> None:
    form = read_yaml(path)
    assert {"name", "description", "body"} <= set(form)
    asked = [part for part in form["body"] if part["type"] != "markdown"]
    assert {part["type"] for part in asked} <= {"textarea", "dropdown", "input", "checkboxes"}
    ids = [part["id"] for part in asked]
    assert ids
    assert len(ids) == len(set(ids))
    assert all(part["attributes"]["label"] for part in asked)


def test_one_version_stands_everywhere() -> None:
    citation = read_yaml(ROOT / "CITATION.cff")
    heading = re.search(r"^## (\S+)(?: \((.+)\))?$", text("CHANGELOG.md"), re.MULTILINE)
    assert heading is not None
    newest, day = heading.groups()
    assert {imatch.__version__} == {citation["version"], recipe()["package"]["version"], newest}
    assert str(citation["date-released"]) == day
    assert citation["license"] == recipe()["about"]["license"] == "Apache-2.0"


def test_the_recipe_requires_what_the_package_requires() -> None:
    config = setup_cfg()
    lines = config["options"]["install_requires"].splitlines()
    asked = [Requirement(line) for line in lines if line and not line.startswith("#")]
    # Without the markers, the widest range; conda-forge builds each version for what it runs on.
    newest = [r for r in asked if r.marker is None or r.marker.evaluate({"python_version": "3.13"})]
    wanted = {f"{CONDA_NAMES.get(r.name, r.name)} {r.specifier}".strip() for r in newest}
    found = set(recipe()["requirements"]["run"])
    assert found == wanted | {f"python {config['options']['python_requires']}"}
    entry = recipe()["build"]["entry_points"]
    assert entry == config["options.entry_points"]["console_scripts"].strip().splitlines()


def test_the_image_has_the_torch_of_the_makefile_and_all_that_is_built() -> None:
    torch = re.findall(r"^(?:ARG TORCH=|TORCH_VERSION := )(\S+)$", text("Dockerfile"), re.MULTILINE)
    assert torch == re.findall(r"^TORCH_VERSION := (\S+)$", text("Makefile"), re.MULTILINE)
    assert re.findall(r"^ARG PYTHON=(\S+)$", text("Dockerfile"), re.MULTILINE)[0] in pythons()
    sent = {line[1:] for line in text(".dockerignore").splitlines() if line.startswith("!")}
    metadata = setup_cfg()["metadata"]
    needed = {"imatch", "pyproject.toml", "setup.cfg", metadata["license_files"]}
    assert sent == needed | {metadata["long_description"].removeprefix("file: "), "MANIFEST.in"}
    assert all((ROOT / name).exists() for name in sent)
