"""The FID network in both published forms, against an independent evaluation of the same random tensors."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import published
import pytest
import torch
from torch import Tensor, nn

from synthrelease import seeds, store
from synthrelease.errors import AuditError, WeightsError
from synthrelease.features import inception, on_device, weights
from synthrelease.features.inception import Inception, resized
from synthrelease.features.interface import load
from synthrelease.features.networks.inception_fid import FidInception
from synthrelease.features.radimagenet import open_network

SMALL = 139  # pixels: the last map is 3 x 3, small enough to be quick and large enough for its pool to matter
NAMES = {  # as pytorch-fid and torch-fidelity publish them
    "0": "Conv2d_1a_3x3",
    "1": "Conv2d_2a_3x3",
    "2": "Conv2d_2b_3x3",
    "4": "Conv2d_3b_1x1",
    "5": "Conv2d_4a_3x3",
    **{str(7 + i): f"Mixed_5{letter}" for i, letter in enumerate("bcd")},
    **{str(10 + i): f"Mixed_6{letter}" for i, letter in enumerate("abcde")},
    **{str(15 + i): f"Mixed_7{letter}" for i, letter in enumerate("abc")},
}
COLOURS = seeds.named(0, "colours").random((2, 3, SMALL, SMALL), dtype=np.float32)


class Program(nn.Module):
    """A program that answers as the published one does: it takes bytes, resizes, and has these two arguments."""

    def __init__(self, state: dict[str, Tensor], size: int) -> None:
        super().__init__()
        self.net, self.size = FidInception(), size
        own = self.net.state_dict()
        children = {name: number for number, name in NAMES.items()}
        for name, tensor in state.items():
            child, _, rest = name.partition(".")
            own[name if child == "fc" else f"body.{children[child]}.{rest}"] = tensor
        self.net.load_state_dict(own)

    def forward(self, img: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        x = torch.nn.functional.interpolate(img, (self.size, self.size))
        features = self.net.body((x - 128) / 128).mean((2, 3))
        if return_features:
            return features
        logits = torch.matmul(features, self.net.fc.weight.T)
        if not no_output_bias:
            logits = logits + self.net.fc.bias
        return torch.softmax(logits, dim=1)


def reference(**variant: object) -> tuple[np.ndarray, OrderedDict[str, Tensor]]:
    """Features of `COLOURS` by the second implementation, and the state dict under the published names."""
    drawn = published.Weights(seeds.named(7, "fid"))
    x = (torch.from_numpy(np.rint(COLOURS * 255)) - 128) / 128
    options = {"form": "keras-port-children", "keras": False, "count_padding": False, "last_pool": "maximum"} | variant
    with torch.inference_mode():
        features = published.inceptionv3(x, drawn, **options).numpy()
    state = OrderedDict()
    for name, tensor in published.state_dict(drawn).items():
        child, _, rest = name.partition(".")
        state[f"{NAMES[child]}.{rest}"] = tensor
    random = torch.Generator().manual_seed(3)
    state["fc.weight"] = torch.randn(1008, 2048, generator=random) / 40
    state["fc.bias"] = torch.randn(1008, generator=random)
    return features, state


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, OrderedDict[str, Tensor]]:
    features, state = reference()
    path = tmp_path_factory.mktemp("weights") / "pt_inception-2015-12-05-6726825d.pth"
    torch.save(state, path)
    return path, features, state


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inception, "SIZE", SMALL)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.usefixtures("_small")
def test_features_and_probabilities_equal_an_independent_evaluation(case):
    path, expected, state = case
    assert len(state) == 566  # 94 convolutions, 94 normalisations with 5 tensors each, and the head

    features, probabilities = Inception(path).with_classes(COLOURS)

    assert features.shape == (2, 2048)
    assert relative_error(features, expected) < 1e-5
    assert (expected > 0).mean() > 0.2  # the random network is alive
    logits = expected @ state["fc.weight"].numpy().T  # without the bias, as the score's original
    wanted = np.exp(logits - logits.max(1, keepdims=True))
    wanted /= wanted.sum(1, keepdims=True)
    assert probabilities.shape == (2, 1008)
    assert relative_error(probabilities, wanted) < 1e-3
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)


@pytest.mark.usefixtures("_small")
def test_features_on_a_cpu_are_to_the_bit_those_of_the_bare_network_whatever_the_precision(case, monkeypatch):
    monkeypatch.setattr(on_device, "choose_device", lambda: torch.device("cpu"))
    monkeypatch.setenv(on_device.PRECISION, "bf16")  # FID is compared across papers, so this network ignores it
    network = inception.open_inception(case[0])[0].network

    extractor = Inception(case[0])
    found = extractor.with_classes(COLOURS)

    with torch.inference_mode():
        expected = network(resized(torch.from_numpy(np.rint(255 * COLOURS))))
    assert "bf16" not in extractor.info.preprocessing
    for own, bare in zip(found, expected, strict=True):
        np.testing.assert_array_equal(own, bare.numpy())


@pytest.mark.parametrize("variant", [{"count_padding": True}, {"last_pool": "average"}])
def test_the_comparison_would_notice_torchvisions_pools(variant, case):
    assert relative_error(reference(**variant)[0], case[1]) > 1e-3


def test_the_pools_are_those_of_the_graph_of_2015():
    body = FidInception().body
    counted = {pool.count_include_pad for pool in body.modules() if isinstance(pool, nn.AvgPool2d)}

    assert counted == {False}
    assert len([pool for pool in body.modules() if isinstance(pool, nn.AvgPool2d)]) == 8
    assert isinstance(body[17].pool, nn.MaxPool2d)
    ones = torch.ones(1, 1, 4, 4)
    assert torch.equal(body[16].pool(ones), ones)  # a constant stays constant up to the edge
    peak = torch.zeros(1, 1, 3, 3)
    peak[0, 0, 0, 0] = 9
    assert float(body[17].pool(peak)[0, 0, 1, 1]) == 9
    assert float(body[16].pool(peak)[0, 0, 1, 1]) == 1


@pytest.mark.parametrize("length", [64, 240, 299, 512])
def test_images_are_resized_as_tensorflow_1_did(length):
    # Interpolating a ramp gives i * length / 299, held at the last pixel.
    ramp = torch.arange(length, dtype=torch.float32).expand(1, 3, length, length)
    expected = np.minimum(np.arange(299) * length / 299, length - 1)

    across, down = resized(ramp), resized(ramp.transpose(2, 3).contiguous())

    for found in (across[0, 0, 5], down[0, 2, :, 7]):
        np.testing.assert_allclose(found.numpy() * 128 + 128, expected, atol=2e-4 * length)


def test_bytes_are_scaled_to_minus_one_and_just_below_one():
    edge = torch.tensor([0.0, 128.0, 255.0]).view(1, 3, 1, 1).expand(1, 3, 299, 299)

    np.testing.assert_allclose(resized(edge)[0, :, 0, 0].numpy(), [-1, 0, 127 / 128])


@pytest.mark.usefixtures("_small")
def test_the_program_file_gives_the_same_answers_as_the_state_dict(case, tmp_path):
    path = tmp_path / "inception-2015-12-05.pt"
    torch.jit.script(Program(case[2], SMALL).eval()).save(str(path))

    state_dict, program = Inception(case[0]), Inception(path)
    first, second = state_dict.with_classes(COLOURS), program.with_classes(COLOURS)

    assert relative_error(second[0], first[0]) < 1e-5
    assert relative_error(second[1], first[1]) < 1e-4
    assert (program.layout.form, state_dict.layout.form) == ("torchscript", "fid-state-dict")
    assert program.info.preprocessing != state_dict.info.preprocessing


class Writes(nn.Module):
    """A program that reaches for a file."""

    def forward(self, img: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        return img + torch.from_file("somewhere", False, 1)


class Answers(nn.Module):
    """A program that answers something else."""

    def forward(self, img: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        return img.mean((2, 3))


def test_a_program_that_reads_files_is_not_run(tmp_path):
    torch.jit.script(Writes()).save(str(tmp_path / "bad.pt"))

    with pytest.raises(WeightsError, match="more than arithmetic: from_file"):
        Inception(tmp_path / "bad.pt")


def test_a_program_that_answers_otherwise_is_refused(tmp_path):
    torch.jit.script(Answers()).save(str(tmp_path / "other.pt"))

    with pytest.raises(WeightsError, match="does not answer as"):
        Inception(tmp_path / "other.pt")


def test_a_cut_program_is_damaged_not_a_crash(case, tmp_path):
    path = tmp_path / "cut.pt"
    torch.jit.script(Answers()).save(str(path))
    path.write_bytes(path.read_bytes()[:-200])

    with pytest.raises(WeightsError):
        Inception(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("Mixed_7b.branch_pool.bn.bias"), "1 missing"),
        (lambda s: s.update({"AuxLogits.fc.bias": torch.zeros(1)}), "1 unexpected"),
        (lambda s: s.update({"fc.bias": torch.zeros(7)}), "1 wrong shapes"),
        (lambda s: s.update({"fc.weight": torch.zeros(1000, 2048)}), "torchvision Inception-v3 with a head of 1000"),
        (lambda s: s.update({"Mixed_5b.branch1x1.bn.bias": torch.full((64,), torch.nan)}), "not finite"),
    ],
)
def test_an_incomplete_or_other_file_is_never_loaded_in_part(change, message, case, tmp_path):
    state = dict(case[2])
    change(state)
    torch.save(state, tmp_path / "changed.pth")

    with pytest.raises(WeightsError, match=message):
        Inception(tmp_path / "changed.pth")


def test_importing_installs_it_by_hash_and_leaves_the_audits_extractors_alone(case):
    found = weights.import_weights("inception", case[0])

    assert (found.form, found.sha256) == ("fid-state-dict", store.sha256_of(case[0]))
    assert "differs from the one reported" in found.recognised  # random weights are not the published ones
    assert weights.weights_for("inception") == found.path
    assert weights.listing().installed == (found,)
    assert weights.installed() == ()  # what an audit searches with unless told otherwise
    assert load("inception").info.weights_sha256 == found.sha256
    assert weights.recognised("inception", "fid-state-dict", weights.FID_SHA256).startswith("The SHA-256 equals")


def test_the_file_is_refused_as_radimagenet(case):
    with pytest.raises(WeightsError, match="the Inception network of FID"):
        open_network("inceptionv3", case[0])


@pytest.mark.usefixtures("_small")
def test_contrasts_are_embedded_one_by_one_as_grey(case):
    extractor = Inception(case[0])
    together = extractor.embed(COLOURS[:1])
    alone = extractor.with_classes(np.repeat(COLOURS[:1, 1:2], 3, axis=1))[0]

    assert together.shape == (1, 3 * 2048)
    assert relative_error(together[:, 2048:4096], alone) < 1e-4
    with pytest.raises(AuditError, match="3 channels"):
        extractor.with_classes(COLOURS[:, :2])
