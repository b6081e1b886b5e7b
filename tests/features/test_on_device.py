"""Networks on their device: precision, memory format, pinned blocks; on a CPU in full precision nothing changes."""

from __future__ import annotations

import copy
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from synthrelease.errors import AuditError, SettingsError
from synthrelease.features import extract, on_device
from synthrelease.features.canonical import canonical_frame
from synthrelease.features.copy_encoder import BATCH, SHIPPED, CopyEncoder, open_encoder
from synthrelease.features.extract import BLOCK, features_of
from synthrelease.features.on_device import PRECISION, OnDevice, bring, embedding_precision, pinned, without_tf32
from synthrelease.image_set import ImageRow, ImageSet, from_arrays
from synthrelease.phantom.cohort import make_slices

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def heads() -> np.ndarray:
    """One slice of 6 phantom subjects, (6, 4, 96, 96)."""
    return np.concatenate([make_slices(seed=5, index=i, size=96, count=1)[0] for i in range(6)]).astype(np.float32)


class Seen(nn.Module):
    """Doubles its input and remembers how it came."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0), requires_grad=False)
        self.inputs: list[Tensor] = []
        self.tf32: list[object] = []

    def forward(self, images: Tensor) -> Tensor:
        self.inputs.append(images)
        self.tf32.append(tf32())
        return (images * self.weight).flatten(1)


def tf32() -> object:
    """Return what torch says about TF32 in convolutions, in this version's words."""
    cudnn = torch.backends.cudnn
    return cudnn.conv.fp32_precision if hasattr(cudnn, "conv") else cudnn.allow_tf32


def test_full_precision_is_what_nobody_asked_to_change(monkeypatch):
    monkeypatch.delenv(PRECISION, raising=False)
    assert embedding_precision() == "full"
    monkeypatch.setenv(PRECISION, "bf16")
    assert embedding_precision() == "bf16"


@pytest.mark.parametrize("asked", ["half", "FP16", "none", "fp16;"])
def test_an_unknown_precision_is_an_error_that_says_what_is_allowed(asked, monkeypatch):
    monkeypatch.setenv(PRECISION, asked)

    with pytest.raises(SettingsError, match="full, bf16, fp16"):
        CopyEncoder()


def test_features_of_the_copy_encoder_on_a_cpu_are_to_the_bit_those_of_the_bare_network(heads, monkeypatch):
    monkeypatch.setenv(PRECISION, "full")
    monkeypatch.setattr(on_device, "choose_device", lambda: torch.device("cpu"))
    many = np.tile(heads, (-(-(BATCH + 4) // heads[:, :, 0, 0].size), 1, 1, 1))  # more than one batch
    network = open_encoder(SHIPPED)
    frames = torch.from_numpy(canonical_frame(many, 64).reshape(-1, 1, 64, 64))

    with torch.inference_mode():
        both = [network(block) + network(block.flip(-1)) for block in torch.split(frames, BATCH)]
    expected = (nn.functional.normalize(torch.cat(both)) / 2).numpy().reshape(len(many), -1)

    assert len(frames) > BATCH
    np.testing.assert_array_equal(CopyEncoder().embed(many), expected)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_fewer_bits_change_features_a_little_and_the_name_of_the_preprocessing(precision, heads, monkeypatch):
    full = CopyEncoder()
    monkeypatch.setenv(PRECISION, precision)
    mixed = CopyEncoder()

    assert mixed.info.preprocessing == f"{full.info.preprocessing}/{precision}"
    first, second = full.embed(heads), mixed.embed(heads)
    assert second.dtype == np.float32
    assert not np.array_equal(first, second)
    assert (first * second).sum(1).min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(second, axis=1), 1, rtol=1e-5)  # what follows the network is not rounded


def test_features_of_fewer_bits_never_come_from_the_cache_of_full_ones(heads, monkeypatch, tmp_path):
    images = some_images(heads)
    full = cached(images, tmp_path)
    monkeypatch.setenv(PRECISION, "bf16")

    assert not np.array_equal(cached(images, tmp_path), full)
    assert len(list(tmp_path.glob("features-*"))) == 2
    monkeypatch.setenv(PRECISION, "full")
    np.testing.assert_array_equal(cached(images, tmp_path), full)
    assert len(list(tmp_path.glob("features-*"))) == 2


def some_images(heads: np.ndarray, count: int = 6) -> ImageSet:
    pixels = (255 * np.tile(heads, (-(-count // len(heads)), 1, 1, 1))[:count]).astype(np.uint8)
    return from_arrays(pixels, [ImageRow(f"{i}.png", subject=f"s{i}") for i in range(count)])


def scaled(block: np.ndarray) -> np.ndarray:
    return block.astype(np.float32) / 255


def cached(images: ImageSet, cache: Path) -> np.ndarray:
    return np.array(features_of(images, CopyEncoder(), prepare=scaled, key="scaled", cache=cache))


def test_a_number_too_large_for_16_bits_is_an_error_that_names_the_way_out():
    def rows(precision: str) -> Tensor:
        layer = nn.Linear(1, 1, bias=False)
        layer.weight.data.fill_(1e6)
        on = OnDevice(layer.requires_grad_(False), precision=precision)
        return on.rows(torch.ones(3, 1), on, batch=2)

    with pytest.raises(AuditError, match=f"(?s)fp16.*{PRECISION} to bf16 or full") as error:
        rows("fp16")
    assert type(error.value) is AuditError  # not the error that blames the image's pixels
    assert rows("bf16")[0, 0] == pytest.approx(1e6, rel=0.01)


def test_convolutions_do_without_tf32_while_a_network_runs_and_not_after():
    network, before = Seen(), tf32()
    on = OnDevice(network)

    on.rows(torch.rand(2, 1, 4, 4), on, batch=2)

    assert before in {"tf32", True}  # torch's default, which this is about
    assert network.tf32 == ["ieee" if before == "tf32" else False]
    assert tf32() == before
    with pytest.raises(ZeroDivisionError), without_tf32():
        raise ZeroDivisionError
    assert tf32() == before


def test_tf32_stays_off_until_the_last_of_several_threads_is_done():
    """A cluster's worker may embed in several threads; the switch is one for all of them."""
    before, entered, left = tf32(), threading.Event(), threading.Event()

    def other() -> None:
        with without_tf32():
            entered.set()
            left.wait(timeout=10)

    thread = threading.Thread(target=other)
    with without_tf32():
        off = tf32()
        thread.start()
        assert entered.wait(timeout=10)
    still = tf32()
    left.set()
    thread.join()

    assert off == still != before
    assert tf32() == before


@pytest.mark.parametrize(
    ("asked", "device", "last"),
    [(True, "cpu", True), (False, "cpu", False), (None, "cpu", False), (None, "cuda", True), (False, "cuda", False)],
)
def test_channels_come_last_where_asked_and_on_every_gpu(asked, device, last, monkeypatch):
    monkeypatch.setattr(on_device, "choose_device", lambda: torch.device(device))
    network = nn.Conv2d(3, 4, 3)
    moves = []
    monkeypatch.setattr(network, "to", lambda *args, **kwargs: moves.append((args, kwargs)) or network)

    OnDevice(network, channels_last=asked)

    assert moves[0] == ((torch.device(device),), {})
    assert ({"memory_format": torch.channels_last} in [kwargs for _, kwargs in moves]) is last


def test_the_copy_encoder_with_channels_last_as_on_a_gpu_has_the_same_features(heads):
    frames = torch.from_numpy(canonical_frame(heads, 64).reshape(-1, 1, 64, 64))
    first, last = (OnDevice(open_encoder(SHIPPED), channels_last=layout) for layout in (False, True))
    weight = last.network.convolutions[3].weight

    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    np.testing.assert_allclose(
        last.rows(frames, last, batch=64), first.rows(frames, first, batch=64), rtol=1e-4, atol=1e-4
    )


def test_every_image_is_brought_over_once_in_batches_and_in_order(monkeypatch):
    brought = []

    def recorded(images: Tensor, device: torch.device) -> Tensor:
        brought.append(len(images))
        return bring(images, device)

    monkeypatch.setattr(on_device, "bring", recorded)
    on = OnDevice(Seen())
    images = torch.rand(7, 1, 2, 2)

    rows = on.rows(images, on, batch=3)

    assert brought == [3, 3, 1]
    assert torch.equal(rows, 2 * images.flatten(1))


def test_images_are_pinned_before_an_asynchronous_copy_to_a_gpu_and_only_once(monkeypatch):
    """The calls that a GPU would get, taken down where there is none."""
    calls = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: calls.append("pin") or self)
    monkeypatch.setattr(Tensor, "to", lambda self, device, **how: calls.append((device.type, how)) or self)
    images, gpu = torch.rand(2, 1, 2, 2), torch.device("cuda")

    bring(images, gpu)
    monkeypatch.setattr(Tensor, "is_pinned", lambda self: True)
    bring(images, gpu)

    copied = ("cuda", {"non_blocking": True})
    assert calls == ["pin", copied, copied]


def test_blocks_are_pinned_by_the_thread_that_reads_them_while_the_one_before_is_embedded(heads, monkeypatch, tmp_path):
    second = threading.Event()
    taken: list[tuple[str, np.ndarray]] = []

    def recorded(images: np.ndarray) -> np.ndarray:
        other = images.copy()  # elsewhere in memory, as pinned images are
        taken.append((threading.current_thread().name, other))
        if len(taken) == 2:
            second.set()
        return other

    class Waiting:
        info = CopyEncoder().info
        got: list[np.ndarray] = []  # noqa: RUF012 - one instance

        def embed(self, images: np.ndarray) -> np.ndarray:
            assert second.wait(timeout=10), "the second block was not pinned during the first embed"
            self.got.append(images)
            return images.mean((2, 3))

    monkeypatch.setattr(extract, "pinned", recorded)
    extractor = Waiting()

    features_of(some_images(heads, BLOCK + 3), extractor, prepare=scaled, key="scaled", cache=tmp_path)

    assert len(taken) == 2
    assert all(name.startswith("read-images") for name, _ in taken)
    assert all(got is pinned_one for got, (_, pinned_one) in zip(extractor.got, taken, strict=True))


def test_without_a_gpu_nothing_is_pinned(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    images = np.zeros((1, 1, 2, 2), np.float32)

    assert pinned(images) is images


def test_a_network_travels_and_settles_on_the_device_that_is_there(heads, monkeypatch):
    monkeypatch.setenv(PRECISION, "bf16")
    encoder = CopyEncoder()
    monkeypatch.setenv(PRECISION, "full")  # what the other process's environment says does not matter

    arrived = copy.deepcopy(encoder)  # by way of __getstate__ and __setstate__, as to a cluster's worker

    assert arrived.on.network is not encoder.on.network
    assert arrived.info == encoder.info
    np.testing.assert_array_equal(arrived.embed(heads), encoder.embed(heads))


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_gives_the_features_of_the_cpu(heads, monkeypatch):
    there = CopyEncoder()
    assert there.on.device.type == "cuda"
    monkeypatch.setattr(on_device, "choose_device", lambda: torch.device("cpu"))

    np.testing.assert_allclose(there.embed(heads), CopyEncoder().embed(heads), atol=1e-4)
    np.testing.assert_array_equal(there.embed(pinned(heads)), there.embed(heads))
