"""Checkpoints: complete, whole or absent, and clear about what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from synthrelease.errors import StoreError
from synthrelease.training import checkpoint
from synthrelease.training.checkpoint import Checkpoint


def _network(width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, 1))


def _learn(network: nn.Module, optimiser: torch.optim.Optimizer, step: int) -> None:
    optimiser.zero_grad()
    data = torch.linspace(-1, 1, 8).reshape(4, 2) * (step + 1)
    network(data).square().mean().backward()
    optimiser.step()


def _of(network: nn.Module, optimiser: torch.optim.Optimizer, step: int) -> Checkpoint:
    return Checkpoint(step, {"net": network.state_dict()}, {"net": optimiser.state_dict()}, {"p": 0.1 + 0.2})


def _saved(folder: Path, *steps: int) -> list[Path]:
    network = _network()
    optimiser = torch.optim.Adam(network.parameters())
    return [checkpoint.save(folder, _of(network, optimiser, step), keep_last=9) for step in steps]


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_a_training_goes_on_from_a_checkpoint_to_the_bit(tmp_path: Path, kind: Any) -> None:
    network = _network()
    optimiser = kind(network.parameters(), lr=0.01)
    for step in range(3):
        _learn(network, optimiser, step)
    path = checkpoint.save(tmp_path, _of(network, optimiser, 3))
    read = checkpoint.load(path)
    other = _network()
    again = kind(other.parameters(), lr=0.5)
    checkpoint.restore(other, read.networks["net"], name="net")
    again.load_state_dict(dict(read.optimisers["net"]))
    for step in range(3, 6):
        _learn(network, optimiser, step)
        _learn(other, again, step)
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), other.state_dict().values(), strict=True)
    )
    assert (read.step, read.scalars) == (3, {"p": 0.1 + 0.2})


def test_one_flipped_bit_is_seen_and_an_earlier_checkpoint_named(tmp_path: Path) -> None:
    first, second = _saved(tmp_path, 5, 9)
    file = second / "network-net.safetensors"
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(
        StoreError, match=r"step-000000009 is damaged: network-net.safetensors is not what was written"
    ) as e:
        checkpoint.load(second)
    assert first.name in e.value.remedy
    assert checkpoint.load(first).step == 5


@pytest.mark.parametrize("file", ["network-net.safetensors", "optimiser-net.safetensors", "state.json"])
@pytest.mark.parametrize("content", [None, b"", b"\xff\x00 no tensors", b"[]", b'{"format": 1}'])
def test_a_missing_or_foreign_file_is_a_clear_error(tmp_path: Path, file: str, content: bytes | None) -> None:
    (path,) = _saved(tmp_path, 1)
    (path / file).unlink()
    if content is not None:
        (path / file).write_bytes(content)
    with pytest.raises(StoreError, match=r"step-000000001 is damaged"):
        checkpoint.load(path)


def test_a_file_of_foreign_bytes_with_its_own_hash_is_a_clear_error(tmp_path: Path) -> None:
    from synthrelease import store

    (path,) = _saved(tmp_path, 1)
    (path / "network-net.safetensors").write_bytes(b"x" * 100)
    about = json.loads((path / "state.json").read_text())
    about["files"]["network-net.safetensors"] = store.sha256_of(path / "network-net.safetensors")
    (path / "state.json").write_text(json.dumps(about))
    with pytest.raises(StoreError, match="cannot be read"):
        checkpoint.load(path)


def test_weights_of_another_shape_name_what_does_not_fit() -> None:
    tensors = {**_network(4).state_dict(), "extra": torch.zeros(1)}
    del tensors["2.bias"]
    with pytest.raises(StoreError, match=r"missing: 2.bias.*unknown: extra.*of another shape: 0.bias, 0.weight"):
        checkpoint.restore(_network(3), tensors, name="net")


def test_weights_that_are_not_finite_are_refused() -> None:
    tensors = _network().state_dict()
    tensors["0.weight"] = tensors["0.weight"] * float("nan")
    with pytest.raises(StoreError, match=r"not finite: broken: 0.weight"):
        checkpoint.restore(_network(), tensors, name="net")


def test_a_write_that_fails_leaves_nothing_under_a_final_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _saved(tmp_path, 1)

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", fails)
    with pytest.raises(StoreError, match="No space left"):
        _saved(tmp_path, 2)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000000001"]


def test_what_a_killed_run_left_half_written_is_no_checkpoint_and_is_cleared_away(tmp_path: Path) -> None:
    (first,) = _saved(tmp_path, 1)
    first.rename(first.with_name(".step-000000002.abc"))
    assert checkpoint.latest(tmp_path) is None
    _saved(tmp_path, 2)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000000002"]


def test_the_newest_and_the_best_stay(tmp_path: Path) -> None:
    network = _network()
    optimiser = torch.optim.Adam(network.parameters())
    for step, value in enumerate([5.0, 2.0, 3.0, 4.0, 2.0]):
        path = checkpoint.save(tmp_path, _of(network, optimiser, step), keep_last=2)
        checkpoint.mark_best(tmp_path, path, metric="FD", value=value)
    assert [path.name[-1] for path in checkpoint.saved(tmp_path)] == ["1", "3", "4"]
    best, latest = checkpoint.best(tmp_path), checkpoint.latest(tmp_path)
    assert best is not None
    assert best.name.endswith("1"), "an equal value does not displace an earlier one"
    assert latest is not None
    assert latest.name.endswith("4")


def test_a_value_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    first, second = _saved(tmp_path, 1, 2)
    assert checkpoint.mark_best(tmp_path, first, metric="FD", value=1.0)
    assert not checkpoint.mark_best(tmp_path, second, metric="FD", value=float("nan"))
    assert checkpoint.best(tmp_path) == first


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"checkpoint": "../../etc", "metric": "m", "value": 0}', "\x00"])
def test_a_foreign_note_of_the_best_is_no_best(tmp_path: Path, text: str) -> None:
    _saved(tmp_path, 1)
    (tmp_path / "best.json").write_text(text)
    assert checkpoint.best(tmp_path) is None


def test_the_model_file_says_that_weights_are_a_separate_release(tmp_path: Path) -> None:
    checkpoint.write_model(tmp_path, {"generator": "diffusion"})
    assert "a release of their own" in checkpoint.read_model(tmp_path)["weights"]


@pytest.mark.parametrize("text", [None, "", "[]", '{"format": 99, "generator": "x"}', '{"format": 1}'])
def test_a_folder_without_a_readable_model_file_is_a_clear_error(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "MODEL.json").write_text(text)
    with pytest.raises(StoreError, match=r"MODEL\.json"):
        checkpoint.read_model(tmp_path)


def test_nothing_in_a_checkpoint_can_run_code(tmp_path: Path) -> None:
    (path,) = _saved(tmp_path, 1)
    assert {file.suffix for file in path.iterdir()} == {".safetensors", ".json"}
