from __future__ import annotations

import pytest
import torch

from imatch.models.embedding.lite0 import LITE0, EfficientNetLite0, load_lite0
from imatch.models.weights import WeightsFile, find_weights


def test_map_covers_the_image_in_cells_of_32_px() -> None:
    network = EfficientNetLite0(bands=2).eval()
    with torch.inference_mode():
        features = network(torch.rand(1, 2, 65, 96))
    assert features.shape == (1, 1280, 3, 3)
    assert float(features.min()) >= 0
    assert float(features.max()) <= 6


@pytest.fixture
def published() -> WeightsFile:
    """The published checkpoint."""
    found = find_weights(LITE0)
    if found is None:
        pytest.skip("efficientnet-lite0 is not on this machine: imatch weights fetch")
    return found


def test_published_weights_give_what_the_published_code_gives(published: WeightsFile) -> None:
    """Pinned from ``extract_features`` of ``efficientnet-lite-pytorch`` 0.1.0."""
    network = load_lite0(published)
    image = torch.linspace(-2, 2, 3 * 224 * 224).reshape(1, 3, 224, 224)
    with torch.inference_mode():
        features = network(image)
    assert features.mean().item() == pytest.approx(0.0730671, abs=1e-5)
    assert features.std().item() == pytest.approx(0.3960600, abs=1e-5)
    assert int(features[0, :, 3, 3].argmax()) == 930


def test_equal_bands_give_what_three_gave(published: WeightsFile) -> None:
    grey = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        three, five = (load_lite0(published, n)(grey.repeat(1, n, 1, 1)) for n in (3, 5))
    assert torch.allclose(three, five, atol=1e-4)
