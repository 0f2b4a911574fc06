from __future__ import annotations

import pytest
import torch
from kornia.feature import ALIKED

from imatch.matchers.sparse.aliked import LeanALIKED


@pytest.mark.parametrize("size", [(64, 64), (70, 101)])
def test_the_lean_maps_are_those_of_kornia(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = LeanALIKED("aliked-t16").eval()
    image = torch.rand(1, 3, *size)
    with torch.inference_mode():
        ours = network.extract_dense_map(image)
        theirs = ALIKED.extract_dense_map(network, image)
    for mine, published in zip(ours, theirs, strict=True):
        assert mine.shape[-2:] == size
        torch.testing.assert_close(mine, published, rtol=0, atol=1e-6)
