"""The QGIS plugin: imatch in the Processing toolbox.

It is copied into a profile of QGIS as the package ``imatch_qgis`` and runs in QGIS's own Python, to
which it adds nothing: it starts the ``imatch`` executable.
"""

from __future__ import annotations

from typing import Any


def classFactory(iface: Any) -> Any:  # noqa: ARG001 - QGIS wants the name and the argument.
    """Makes the plugin, for QGIS.

    Args:
        iface: QGIS's window, None in ``qgis_process``.
    """
    from .provider import ImatchPlugin

    return ImatchPlugin()
