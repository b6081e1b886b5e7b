"""Every published layout of RadImageNet weights against an independent evaluation of the same tensors."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import published
import pytest
import torch
from safetensors.torch import save_file

from synthrelease import seeds
from synthrelease.errors import WeightsError
from synthrelease.features import on_device, radimagenet
from synthrelease.features.layouts import layout_of
from synthrelease.features.radimagenet import RadImageNet, prepare
from synthrelease.features.weight_files import read_weights

SMALL = 96  # pixels: the networks are the same at any size, and the tests stay quick
GREY = seeds.named(0, "grey").random((1, 1, SMALL, SMALL), dtype=np.float32)
LAYOUTS = [
    ("resnet50", "keras-h5"),
    ("resnet50", "keras-port"),
    ("resnet50", "pytorch"),
    ("inceptionv3", "keras-h5"),
    ("inceptionv3", "keras-port-children"),
    ("inceptionv3", "pytorch"),
    ("densenet121", "keras-h5"),
    ("densenet121", "pytorch"),
]
TENSORS = {  # counted in the published files; the counters of the PyTorch ones included
    ("resnet50", "keras-h5"): 318,
    ("resnet50", "keras-port"): 371,
    ("resnet50", "pytorch"): 318,
    ("inceptionv3", "keras-h5"): 376,
    ("inceptionv3", "keras-port-children"): 564,
    ("inceptionv3", "pytorch"): 564,
    ("densenet121", "keras-h5"): 604,
    ("densenet121", "pytorch"): 725,
}


@pytest.fixture
def small_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(radimagenet, "SIZE", SMALL)


class Case:
    """A file in one layout, its weights, and the features that its network must give for `GREY`."""

    def __init__(self, architecture: str, form: str, folder: Path) -> None:
        self.architecture, self.form = architecture, form
        self.keras = form != "pytorch"
        self.weights = published.Weights(seeds.named(1, architecture, form))
        self.expected = self.evaluate()
        if form == "keras-port-children":  # a port of a network without scale
            for own in self.weights.layers.values():
                if "running_var" in own:
                    own["weight"] = torch.ones_like(own["weight"])
                    own["running_var"] = own["running_var"].clamp(
                        min=0.5
                    )  # without a scale, a small variance would blow signals up
            self.expected = self.evaluate()
        self.path = folder / f"{architecture}-{form}{'.h5' if form == 'keras-h5' else '.pt'}"
        if form == "keras-h5":
            published.write_keras(self.path, self.weights)
        else:
            torch.save(published.state_dict(self.weights), self.path)

    def evaluate(self, **variant: bool) -> np.ndarray:
        network = published.NETWORKS[self.architecture]
        with torch.inference_mode():
            x = published.prepared(GREY, keras=self.keras)
            return network(x, self.weights, form=self.form, keras=self.keras, **variant).numpy()

    def load(self, path: Path | None = None) -> RadImageNet:
        return RadImageNet(f"radimagenet-{self.architecture}", path or self.path)


@pytest.fixture(scope="module")
def case_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Case]:
    made: dict[tuple[str, str], Case] = {}

    def get(architecture: str, form: str) -> Case:
        if (architecture, form) not in made:
            made[architecture, form] = Case(architecture, form, tmp_path_factory.mktemp("weights"))
        return made[architecture, form]

    return get


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.usefixtures("small_input")
@pytest.mark.parametrize(("architecture", "form"), LAYOUTS)
def test_features_equal_an_independent_evaluation_of_the_same_tensors(architecture, form, case_of):
    case = case_of(architecture, form)

    assert len(read_weights(case.path).tensors) == TENSORS[architecture, form]
    extractor = case.load()

    assert extractor.layout.form == form
    assert relative_error(extractor.embed(GREY), case.expected) < 1e-5


@pytest.mark.usefixtures("small_input")
def test_features_on_a_cpu_are_to_the_bit_those_of_the_bare_network_in_batches(case_of, monkeypatch):
    monkeypatch.setattr(on_device, "choose_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(radimagenet, "BATCH", 2)
    images = seeds.named(0, "three").random((3, 1, SMALL, SMALL), dtype=np.float32)
    path = case_of("resnet50", "pytorch").path
    network = radimagenet.open_network("resnet50", path)[0].to(memory_format=torch.channels_last)

    with torch.inference_mode():
        inputs = [prepare(block, keras=False) for block in torch.split(torch.from_numpy(images), 2)]
        expected = torch.cat([network(part.contiguous(memory_format=torch.channels_last)) for part in inputs])

    np.testing.assert_array_equal(RadImageNet("radimagenet-resnet50", path).embed(images), expected.numpy())


@pytest.mark.usefixtures("small_input")
def test_fewer_bits_change_features_in_the_third_digit_and_are_named(case_of, monkeypatch):
    case = case_of("resnet50", "keras-h5")
    full = case.load()
    monkeypatch.setenv(on_device.PRECISION, "bf16")
    mixed = case.load()

    assert mixed.info.preprocessing == f"{full.info.preprocessing}/bf16"
    assert 1e-5 < relative_error(mixed.embed(GREY), case.expected) < 0.1


def test_the_keras_resnet_has_the_published_number_of_values(case_of):
    tensors = read_weights(case_of("resnet50", "keras-h5").path).tensors

    assert sum(tensor.numel() for tensor in tensors.values()) == 23_587_712


def test_the_keras_inception_holds_no_scale_and_the_others_do(case_of):
    assert not [n for n in read_weights(case_of("inceptionv3", "keras-h5").path).tensors if n.endswith("gamma")]
    assert [n for n in read_weights(case_of("densenet121", "keras-h5").path).tensors if n.endswith("gamma")]


@pytest.mark.parametrize(
    ("architecture", "form", "variant"),
    [
        ("resnet50", "keras-h5", {"stride_first": False}),
        ("resnet50", "pytorch", {"stride_first": True}),
        ("inceptionv3", "keras-h5", {"count_padding": True}),
        ("inceptionv3", "pytorch", {"count_padding": False}),
    ],
)
def test_the_comparison_would_notice_the_other_family_s_arithmetic(architecture, form, variant, case_of):
    case = case_of(architecture, form)

    assert relative_error(case.evaluate(**variant), case.expected) > 1e-3


@pytest.mark.parametrize(("architecture", "form"), [("resnet50", "keras-h5"), ("densenet121", "pytorch")])
def test_the_comparison_would_notice_another_epsilon(architecture, form, case_of, monkeypatch):
    case = case_of(architecture, form)
    swapped = {1e-5: 1.001e-5, 1.001e-5: 1e-5}
    original = published.Reference

    def other(weights, epsilon, **options):
        return original(weights, swapped[epsilon], **options)

    monkeypatch.setattr(published, "Reference", other)

    assert relative_error(case.evaluate(), case.expected) > 2e-5


@pytest.mark.usefixtures("small_input")
def test_biases_of_the_keras_resnet_change_its_features(case_of, tmp_path):
    case = case_of("resnet50", "keras-port")
    state = published.state_dict(case.weights)
    state["layer4.2.conv1.bias"] = state["layer4.2.conv1.bias"] + 1
    torch.save(state, tmp_path / "shifted.pth")

    assert relative_error(case.load(tmp_path / "shifted.pth").embed(GREY), case.expected) > 1e-3


@pytest.mark.usefixtures("small_input")
def test_a_weights_only_h5_and_a_renumbered_one_give_the_same_features(case_of, tmp_path):
    case = case_of("inceptionv3", "keras-h5")
    file = published.write_keras(tmp_path / "second.h5", case.weights, whole_model=False, first_number=94)

    assert relative_error(case.load(file).embed(GREY), case.expected) < 1e-5


@pytest.mark.usefixtures("small_input")
def test_a_safetensors_copy_without_counters_gives_the_same_features(case_of, tmp_path):
    case = case_of("densenet121", "pytorch")
    save_file(dict(published.state_dict(case.weights, counters=False)), tmp_path / "copy.safetensors")

    assert relative_error(case.load(tmp_path / "copy.safetensors").embed(GREY), case.expected) < 1e-5


@pytest.mark.usefixtures("small_input")
def test_each_contrast_is_embedded_on_its_own_and_the_vectors_lie_side_by_side(case_of):
    extractor = case_of("densenet121", "pytorch").load()
    images = seeds.named(2, "contrasts").random((2, 3, 40, 40), dtype=np.float32)

    together = extractor.embed(images)

    assert together.shape == (2, 3 * 1024)
    alone = extractor.embed(images[1:, 2:])
    np.testing.assert_allclose(together[1:, 2048:], alone, rtol=1e-4, atol=1e-5)


def test_info_states_family_preprocessing_and_the_hash_of_the_file(case_of):
    first, second = case_of("densenet121", "pytorch").load().info, case_of("densenet121", "keras-h5").load().info

    assert first.preprocessing != second.preprocessing
    assert first.weights_sha256 != second.weights_sha256
    assert (first.name, first.fitted_on, first.mirror_invariant) == ("radimagenet-densenet121", "nothing", False)


@pytest.mark.parametrize(
    ("keras", "black", "white"),
    [
        (True, [-103.939 / 255, -116.779 / 255, -123.68 / 255], [151.061 / 255, 138.221 / 255, 131.32 / 255]),
        (False, [-1, -1, -1], [1, 1, 1]),
    ],
)
def test_black_and_white_are_scaled_as_the_networks_were_trained(keras, black, white):
    images = torch.stack([torch.zeros(1, 9, 9), torch.ones(1, 9, 9)])

    prepared = prepare(images, keras=keras)

    assert prepared.shape == (2, 3, 224, 224)
    np.testing.assert_allclose(prepared[0, :, 5, 5], black, atol=1e-6)
    np.testing.assert_allclose(prepared[1, :, 5, 5], white, atol=1e-6)


def test_resizing_a_ramp_keeps_pixel_centres_where_they_were():
    ramp = torch.arange(112, dtype=torch.float32).expand(1, 1, 112, 112) / 112

    doubled = prepare(ramp, keras=False)[0, 0, 0]

    inner = torch.arange(1, 223)
    np.testing.assert_allclose((doubled[1:-1] + 1) / 2 * 112, (inner + 0.5) / 2 - 0.5, atol=1e-4)


# --- wrong files: the message names what it is and what was expected -------------------------------------------------


def saved(path: Path, names: dict[str, tuple[int, ...]]) -> Path:
    torch.save({name: torch.zeros(shape) for name, shape in names.items()}, path)
    return path


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (
            {"conv1.weight": (1,), "layer4.2.conv3.weight": (1,), "fc.weight": (1000, 1)},
            "ImageNet ResNet-50 with a head of 1000",
        ),
        ({"Mixed_7c.branch1x1.conv.weight": (1,), "fc.weight": (1008, 1)}, "Inception network of FID"),
        (
            {"Mixed_7c.branch1x1.conv.weight": (1,), "fc.weight": (1000, 1)},
            "torchvision Inception-v3 with a head of 1000",
        ),
        ({"features.denseblock4.denselayer16.conv2.weight": (1,)}, "torchvision DenseNet-121"),
        ({"layer1.0.conv1.weight": (1,), "fc.weight": (1000, 1)}, "another ResNet"),
        ({"backbone.0.conv0.weight": (1,)}, r"RadImageNet DenseNet121 \(PyTorch"),
        ({"something": (1,)}, "unknown table of 1 tensors"),
    ],
)
def test_a_wrong_file_is_named_and_so_is_what_was_expected(names, what, tmp_path):
    file = saved(tmp_path / "wrong.pt", names)

    with pytest.raises(WeightsError, match=f"{what}.*expected RadImageNet ResNet50"):
        RadImageNet("radimagenet-resnet50", file)


def test_weights_of_one_network_are_refused_by_another(case_of):
    with pytest.raises(WeightsError, match=r"RadImageNet InceptionV3 \(Keras h5\).*expected RadImageNet DenseNet121"):
        RadImageNet("radimagenet-densenet121", case_of("inceptionv3", "keras-h5").path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("layer3.1.bn2.running_var"), r"1 missing \(layer3.1.bn2.running_var\)"),
        (lambda s: s.update({"fc.weight": torch.zeros(165, 2048)}), r"1 unexpected \(fc.weight\)"),
        (
            lambda s: s.update({"conv1.weight": torch.zeros(64, 1, 7, 7)}),
            r"conv1.weight is \(64, 1, 7, 7\), expected \(64, 3, 7, 7\)",
        ),
        (
            lambda s: s["bn1.bias"].__setitem__(0, float("nan")),
            "1 tensors hold values that are not finite, first bn1.bias",
        ),
    ],
)
def test_a_file_that_matches_only_in_part_is_an_error(change, message, case_of, tmp_path):
    state = published.state_dict(case_of("resnet50", "keras-port").weights)
    state = type(state)((name, tensor.clone()) for name, tensor in state.items())
    change(state)
    torch.save(state, tmp_path / "changed.pth")

    with pytest.raises(WeightsError, match=message):
        RadImageNet("radimagenet-resnet50", tmp_path / "changed.pth")


def test_a_keras_resnet_without_its_biases_is_not_taken_for_the_pytorch_one(case_of, tmp_path):
    weights = published.Weights(np.random.default_rng(0))
    for layer, own in case_of("resnet50", "keras-h5").weights.layers.items():
        weights.layers[layer] = {leaf: t for leaf, t in own.items() if not (leaf == "bias" and own["weight"].ndim == 4)}
    file = published.write_keras(tmp_path / "stripped.h5", weights)

    with pytest.raises(WeightsError, match=r"53 missing \(conv1_conv/bias"):
        RadImageNet("radimagenet-resnet50", file)


def test_a_pytorch_inception_without_its_prefix_is_not_taken_for_a_keras_port():
    weights = published.Weights(np.random.default_rng(0))
    published.inceptionv3(torch.zeros(1, 3, 75, 75), weights, form="keras-port-children", keras=True)
    raw = read_weights_of(weights)

    assert layout_of(raw) is None


def read_weights_of(weights: published.Weights):
    from synthrelease.features.weight_files import RawWeights

    return RawWeights(Path("stripped.pt"), "torch", dict(published.state_dict(weights)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>Google Drive - Quota exceeded</html>", "is a web page"),
        (b"", "not a weights file"),
        (b"\x00" * 5000, "not a weights file"),
        (b"\x89HDF\r\n\x1a\n" + b"\x00" * 100, "damaged HDF5"),
        (b"MZ\x90\x00 something else entirely", "not a weights file"),
    ],
)
def test_files_that_hold_no_weights_are_refused_in_words(content, message, tmp_path):
    file = tmp_path / "download.pt"
    file.write_bytes(content)

    with pytest.raises(WeightsError, match=message):
        RadImageNet("radimagenet-resnet50", file)


def test_an_archive_is_refused_with_the_names_inside(tmp_path):
    with zipfile.ZipFile(tmp_path / "RadImageNet_pytorch.zip", "w") as archive:
        archive.writestr("RadImageNet_pytorch/ResNet50.pt", b"x")

    with pytest.raises(WeightsError, match=r"archive that holds RadImageNet_pytorch/ResNet50.pt"):
        RadImageNet("radimagenet-resnet50", tmp_path / "RadImageNet_pytorch.zip")


class Trap:
    """What an attacker would put into a pickle."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return (Path.touch, (self.place,))


def test_a_file_with_python_objects_is_refused_and_nothing_in_it_runs(tmp_path):
    torch.save({"weights": Trap(tmp_path / "sprung")}, tmp_path / "trap.pt")

    with pytest.raises(WeightsError, match="Python objects"):
        RadImageNet("radimagenet-resnet50", tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


def test_a_training_checkpoint_is_not_taken_for_weights(tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(1)}, "epoch": 3}, tmp_path / "checkpoint.pt")

    with pytest.raises(WeightsError, match="state_dict, epoch"):
        RadImageNet("radimagenet-resnet50", tmp_path / "checkpoint.pt")


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(WeightsError, match="cannot be read"):
        RadImageNet("radimagenet-resnet50", tmp_path / "absent.pt")
