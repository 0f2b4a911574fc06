from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest

from imatch.core.errors import ConfigError, EmbedderError, ImatchError
from imatch.core.registry import Registry
from imatch.retrieval.embedders import EMBEDDERS
from imatch.training.augment.pair import Augmentation, AugmentConfig
from imatch.training.registry import TRAINERS, TrainingError


@pytest.mark.parametrize(
    ("table", "module", "extra", "kind"),
    [
        (TRAINERS, "albumentations", "train", TrainingError),
        (EMBEDDERS, "sklearn", "retrieval", EmbedderError),
    ],
)
def test_a_missing_extra_is_an_error_of_the_kind(
    table: Registry[Any],
    module: str,
    extra: str,
    kind: type[ImatchError],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for name in table:
        row = replace(table[name], target=f"{module}:Thing")
        with pytest.raises(kind, match=f"run pip install 'imatch\\[{extra}\\]'$") as caught:
            row.load()
        assert caught.value.subject == name
    if table is TRAINERS:
        lame = replace(TRAINERS["loftr"], config=f"{module}:C", export=f"{module}:e")
        for load in (lame.load_config, lame.load_export):
            with pytest.raises(TrainingError, match="loftr: cannot be loaded"):
                load()


def test_what_takes_a_missing_extra_is_refused_before_it_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(ConfigError, match=r"^albumentations: is not installed .*\[train\]'$"):
        Augmentation(AugmentConfig(sensor=0.1), 64)
    Augmentation(AugmentConfig(sensor=0), 64)
