"""Copies the plugin into profiles of QGIS, and packs it for QGIS's plugin repository."""

from __future__ import annotations

import os
import re
import sys
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import suppress
from pathlib import Path

from imatch.core.errors import InputError, OutputError
from imatch.core.io.files import atomic_folder, atomic_path, disk_errors, remove_leftovers

#: Name of the plugin's package in QGIS.
PACKAGE = "imatch_qgis"
#: What the plugin repository asks for, and the project cannot know for those who publish it.
PUBLISHED_FIELDS = ("email", "homepage", "repository", "tracker")
_SOURCE = Path(__file__).parent / "plugin"
_NOTE, _METADATA = "executable.txt", "metadata.txt"
_DATE = (1980, 1, 1, 0, 0, 0)


def install_plugin(profile: str | None = None, *, executable: Path | None = None) -> list[Path]:
    """Copies the plugin into profiles of QGIS and switches it on.

    Args:
        profile: The name of a profile, or its folder; ``default`` when None.
        executable: The imatch that it is to run; the one of this environment when None.

    Returns:
        The folders of the plugin: one, or one for each major version of QGIS.

    Raises:
        InputError: There is no such profile.
        OutputError: The disk refused.
    """
    executable = own_executable() if executable is None else executable
    installed = []
    for folder in profile_folders(profile):
        plugins = folder / "python" / "plugins"
        with disk_errors(plugins):
            plugins.mkdir(parents=True, exist_ok=True)
        with atomic_folder(plugins / PACKAGE, overwrite=True) as made:
            for name, content in plugin_files():
                (made / name).write_bytes(content)
            if executable is not None:
                (made / _NOTE).write_text(f"{executable}\n", encoding="utf-8")
        _switch_on(folder)
        installed.append(plugins / PACKAGE)
    return installed


def package_plugin(
    out: Path, *, repository: str | None = None, email: str | None = None, overwrite: bool = False
) -> list[str]:
    """Packs the plugin as a zip, the same bytes each time.

    Args:
        out: The file to write.
        repository: Address of the source code, under which issues are too.
        email: Address of the maintainers.
        overwrite: Whether an existing file may be replaced.

    Returns:
        The fields that the plugin repository will miss; QGIS installs the zip without them.

    Raises:
        OutputError: The file exists, or the disk refused.
    """
    if out.suffix.lower() != ".zip":
        raise OutputError("is no .zip", subject=out, hint="QGIS installs plugins from zips")
    given = {} if repository is None else {
        "homepage": repository,
        "repository": repository,
        "tracker": f"{repository.rstrip('/')}/issues",
    }  # fmt: skip
    if email is not None:
        given["email"] = email
    with (
        atomic_path(out, overwrite=overwrite) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, content in plugin_files():
            entry = zipfile.ZipInfo(f"{PACKAGE}/{name}", _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # Else zips of Windows differ.
            archive.writestr(entry, _with_fields(content, given) if name == _METADATA else content)
    return [field for field in PUBLISHED_FIELDS if field not in {**_metadata(), **given}]


def plugin_files() -> Iterator[tuple[str, bytes]]:
    """Names and contents of the plugin's files, the licence of the package among them."""
    yield "LICENSE", _licence()
    for path in sorted(_SOURCE.iterdir()):
        if path.is_file() and path.suffix != ".pyc" and path.name != _NOTE:
            yield path.name, path.read_bytes()


def _licence() -> bytes:
    """The licence as the installed package has it, else as the source tree does."""
    from importlib.metadata import PackageNotFoundError, distribution

    with suppress(PackageNotFoundError):
        text = distribution("imatch").read_text("licenses/LICENSE")
        if text is not None:
            return text.encode("utf-8")
    return (_SOURCE.parents[2] / "LICENSE").read_bytes()


def own_executable() -> Path | None:
    """The ``imatch`` of this environment; None where it has none."""
    name = "imatch.exe" if os.name == "nt" else "imatch"
    for folder in (Path(sys.executable).parent, Path(sys.prefix) / "bin"):
        if (folder / name).is_file():
            return folder / name
    return None


def profile_folders(profile: str | None = None) -> list[Path]:
    """The folders of a profile.

    Args:
        profile: Its name, or its folder; ``default`` when None.

    Raises:
        InputError: There is none.
    """
    if profile is not None and Path(profile).is_dir():
        return [Path(profile).resolve()]
    name = profile or "default"
    roots = [*_profile_roots()]
    found = [root / name for root in roots if (root / name).is_dir()]
    if not found:
        others = sorted({path.name for root in roots if root.is_dir() for path in root.iterdir()})
        hint = f"there are {', '.join(others)}" if others else "start QGIS once, which makes it"
        raise InputError(
            "is no profile of QGIS", subject=name, hint=f"{hint}, or pass --profile FOLDER"
        )
    return found


def _profile_roots() -> Iterator[Path]:
    """Where profiles of QGIS lie: https://docs.qgis.org, User profiles."""
    from platformdirs import user_data_path

    custom = os.environ.get("QGIS_CUSTOM_CONFIG_PATH")
    if custom:
        yield Path(custom) / "profiles"
        return
    base = user_data_path("QGIS", appauthor=False, roaming=True)
    for version in ("QGIS3", "QGIS4"):
        yield base / version / "profiles"


def _switch_on(profile: Path) -> None:
    """Writes into a profile's settings that the plugin is on, and leaves all else as it is."""
    version = "QGIS4" if "QGIS4" in profile.parts else "QGIS3"
    settings = profile / "QGIS" / f"{version}.ini"
    with disk_errors(settings):
        settings.parent.mkdir(exist_ok=True)
        remove_leftovers(settings.parent)
        text = settings.read_text(encoding="utf-8") if settings.exists() else ""
    line = f"{PACKAGE}=true"
    section, own = r"(?m)^\[PythonPlugins\]\n", rf"(?m)^{PACKAGE}=.*$"
    if re.search(own, text):
        changed = re.sub(own, line, text)
    elif re.search(section, text):
        changed = re.sub(section, f"[PythonPlugins]\n{line}\n", text)
    else:
        changed = f"{text.rstrip()}\n\n[PythonPlugins]\n{line}\n".lstrip()
    if changed != text:
        with atomic_path(settings, overwrite=True) as temporary:
            temporary.write_text(changed, encoding="utf-8")


def _metadata() -> dict[str, str]:
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(_SOURCE / _METADATA, encoding="utf-8")
    return dict(parser["general"])


def _with_fields(content: bytes, fields: dict[str, str]) -> bytes:
    lines = "".join(f"{name}={value}\n" for name, value in fields.items())
    return content.rstrip() + b"\n" + lines.encode("utf-8")
