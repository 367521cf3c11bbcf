"""The cascade: budgets met, stages in order, resumable to the bit, and wrong folders refused."""

import json
from importlib import import_module
from pathlib import Path

import pytest
import torch

from medlib.data import SegmentationSet, medical_phantoms
from medlib.models import Segmenter, tiny_sam
from medlib.pruning.cascade import CascadeResult, cascade
from medlib.pruning.cascade_scores import method_scores as real_scores
from medlib.pruning.masks import masked
from medlib.pruning.recovery import recover as real_recover

torch.set_num_threads(1)
cascade_module = import_module("medlib.pruning.cascade")  # the package exports the function under the same name
OPTIONS = {"recovery_steps": 2, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def reference() -> Segmenter:
    return tiny_sam(size=64, width=32, depth=3, neck=16)


@pytest.fixture(scope="module")
def model(reference: Segmenter) -> Segmenter:
    """The reference with slightly other weights."""
    adapted = tiny_sam(size=64, width=32, depth=3, neck=16)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adapted.encoder.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return adapted


@pytest.fixture(scope="module")
def samples() -> dict[str, SegmentationSet]:
    return medical_phantoms(2, size=64, seed=9)


@pytest.fixture(scope="module")
def whole(model: Segmenter, reference: Segmenter, samples: dict[str, SegmentationSet]) -> CascadeResult:
    return run(model, reference, samples)


def run(model, reference, samples, heads: float = 0.5, channels: float = 0.5, **options) -> CascadeResult:
    return cascade(model, reference, samples, heads, channels, **(OPTIONS | options))


def removed(masks, kind: str) -> list[int]:
    return [int((mask == 0).sum()) for mask in getattr(masks, kind)]


def same(a: CascadeResult, b: CascadeResult) -> bool:
    return a.model.digest() == b.model.digest() and same_masks(a, b)


def same_masks(a: CascadeResult, b: CascadeResult) -> bool:
    pairs = zip((*a.masks.heads, *a.masks.channels), (*b.masks.heads, *b.masks.channels), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


# --- what it does -------------------------------------------------------------------------------------------------


def test_stages_budgets_and_what_stays(whole: CascadeResult, model: Segmenter, reference: Segmenter):
    names = [stage.name for stage in whole.stages]
    assert names == ["heads", "recovery after heads", "channels", "recovery after channels"]
    assert sum(removed(whole.masks, "heads")) == 6 and sum(removed(whole.masks, "channels")) == 192
    shares = [stage.removed for stage in whole.stages]
    assert 0 < shares[0] == shares[1] < shares[2] == shares[3] < 0.5
    assert removed(whole.stages[1].masks, "channels") == [0, 0, 0]
    assert whole.model.digest() != model.digest()
    for network in (whole.model.network, model.network, reference.network):
        assert not any(module._forward_pre_hooks or module.training for module in network.modules())
        assert all(p.requires_grad and p.grad is None for p in network.parameters())


def test_without_recovery_the_weights_stay(model: Segmenter, reference: Segmenter, samples):
    digests = model.digest(), reference.digest()
    result = run(model, reference, samples, recovery_steps=0)
    assert [stage.name for stage in result.stages] == ["heads", "channels"]
    assert result.model.digest() == model.digest()
    assert (model.digest(), reference.digest()) == digests


@pytest.mark.parametrize("method", ["dual_normalised", "zero", "reset", "magnitude", "taylor", "random"])
def test_every_method_meets_the_same_budget_in_its_own_way(whole, model, reference, samples, method: str):
    result = run(model, reference, samples, method=method, recovery_steps=0)
    assert removed(result.masks, "heads") == removed(whole.masks, "heads"), "quotas of heads are shared by all methods"
    assert sum(removed(result.masks, "channels")) == 192
    if method in ("magnitude", "random", "reset"):
        assert any(not torch.equal(a, b) for a, b in zip(result.masks.channels, whole.masks.channels, strict=True))


def test_channels_are_scored_on_the_recovered_model_with_the_alpha_of_the_heads(
    whole, model, reference, samples, monkeypatch: pytest.MonkeyPatch
):
    calls = []

    def seen(*arguments, **options):
        found = real_scores(*arguments, **options)
        calls.append((arguments[1].digest(), options["masks"], options["alpha"], found.alpha))
        return found

    monkeypatch.setattr(cascade_module, "method_scores", seen)
    run(model, reference, samples)
    (first, second) = calls
    assert first[0] == model.digest() and first[2] is None
    assert second[0] not in (model.digest(), whole.model.digest())
    assert torch.equal(second[2], first[3])
    assert removed(second[1], "heads") == removed(whole.masks, "heads")


def test_the_lowest_scores_go(model: Segmenter, reference: Segmenter, samples):
    """With Δreset alone the groups whose adaptation changed least go first: none changed in half of each block."""
    adapted = tiny_sam(size=64, width=32, depth=3, neck=16)
    with torch.no_grad():
        for block in adapted.encoder.blocks:
            block.mlp.lin1.weight[64:] += 0.05
    result = run(adapted, reference, samples, method="reset", recovery_steps=0, rule="uniform")
    for mask in result.masks.channels:
        assert not mask[:64].any() and mask[64:].all()


def test_protected_blocks_and_a_second_pass_over_them(model: Segmenter, reference: Segmenter, samples):
    options = {"heads": 0.25, "channels": 0.3, "protected_blocks": 1}
    first = run(model, reference, samples, **options)
    assert removed(first.masks, "heads")[2] == removed(first.masks, "channels")[2] == 0
    assert sum(removed(first.masks, "heads")) == 3
    second = run(model, reference, samples, last_blocks=(0.17, 0.1), **options)
    assert [s.name for s in second.stages][4:] == [
        "heads of the last blocks",
        "recovery after heads of the last blocks",
        "channels of the last blocks",
        "recovery after channels of the last blocks",
    ]
    assert removed(second.masks, "heads") == [*removed(first.masks, "heads")[:2], 2]
    assert removed(second.masks, "channels") == [*removed(first.masks, "channels")[:2], 38]
    gone = second.masks.channels[0] == 0
    kept = second.model.encoder.blocks[0].mlp.lin2.weight[:, gone]
    assert torch.equal(kept, first.model.encoder.blocks[0].mlp.lin2.weight[:, gone]), "masks stay on in the second pass"


def test_datasets_are_weighed(model: Segmenter, reference: Segmenter, samples):
    alone = run(model, reference, {"polyps": samples["polyps"]}, recovery_steps=0)
    weights = {"dermoscopy": 0.0, "polyps": 1.0, "ultrasound": 0.0}
    weighed = run(model, reference, samples, weights=weights, beta=0.0, recovery_steps=0, method="zero")
    only = run(model, reference, {"polyps": samples["polyps"]}, recovery_steps=0, method="zero")
    assert same(weighed, only) and not same(alone, run(model, reference, samples, recovery_steps=0))


def test_one_dataset_needs_no_name(model: Segmenter, reference: Segmenter, samples):
    named = run(model, reference, {"polyps": samples["polyps"]}, recovery_steps=1)
    assert same(run(model, reference, samples["polyps"], recovery_steps=1), named)


def test_calibration_takes_the_first_images(model: Segmenter, reference: Segmenter, samples):
    fewer = {name: SegmentationSet.from_samples([some[0]], "a test") for name, some in samples.items()}
    assert same(run(model, reference, samples, calibration_images=1), run(model, reference, fewer))


def test_fine_tuning_comes_last_and_moves_the_decoder(whole, model: Segmenter, reference: Segmenter, samples):
    tuned = run(model, reference, samples, fine_tuning_epochs=1)
    assert tuned.stages[-1].name == "fine-tuning" and same_masks(tuned, whole)
    decoders = [r.model.network.mask_decoder.state_dict() for r in (whole, tuned)]
    assert any(not torch.equal(decoders[0][name], decoders[1][name]) for name in decoders[0])


@pytest.mark.parametrize("compensation", ["fold", "reconstruct"])
def test_compensation_changes_weights_before_recovery(model: Segmenter, reference: Segmenter, samples, compensation):
    plain = run(model, reference, samples, recovery_steps=0)
    result = run(model, reference, samples, recovery_steps=0, compensation=compensation)
    images = model.inputs([image for some in samples.values() for image in some.images])
    with torch.no_grad():
        target, gaps = model.encoder(images), []
        for r in (plain, result):
            with masked(r.model.encoder, r.masks):
                gaps.append(float((r.model.encoder(images) - target).square().mean()))
    assert gaps[1] < gaps[0]


# --- stopping and going on ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("recovery", [1, 2])
def test_a_killed_run_goes_on_to_the_same_weights(
    whole, model, reference, samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recovery: int
):
    calls = []

    def killed(*arguments, **options):
        calls.append(1)
        if len(calls) == recovery:
            real_recover(*arguments[:4], 1, **options)
            raise KeyboardInterrupt
        return real_recover(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cascade_module, "recover", killed)
        run(model, reference, samples, directory=tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2 * recovery - 1
    resumed = run(model, reference, samples, directory=tmp_path)
    assert same(resumed, whole)
    assert [s.name for s in resumed.stages] == [s.name for s in whole.stages]


def test_a_finished_run_computes_nothing(whole, model, reference, samples, tmp_path: Path, monkeypatch):
    run(model, reference, samples, directory=tmp_path)
    for name in ("recover", "method_scores", "boundary_fisher"):
        monkeypatch.setattr(cascade_module, name, lambda *_, **__: pytest.fail("computed again"))
    assert same(run(model, reference, samples, directory=tmp_path), whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 0.25}, r"head_budget was 0\.5 and is 0\.25"),
        ({"method": "zero"}, 'method was "dual" and is "zero"'),
        ({"seed": 3}, "seed was 0 and is 3"),
        ({"calibration_images": 1}, "samples was "),
    ],
)
def test_a_folder_of_another_configuration(model, reference, samples, tmp_path: Path, change: dict, message: str):
    (folder := tmp_path / "kept").mkdir()
    run(model, reference, samples, directory=folder, recovery_steps=0)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(ValueError, match=rf"belongs to a cascade of another configuration: {message}.*Give another"):
        run(model, reference, samples, **({"directory": folder, "recovery_steps": 0} | change))
    assert sorted(path.name for path in folder.iterdir()) == before
    with pytest.raises(ValueError, match=r"model was .* Give another"):
        run(reference, reference, samples, directory=folder, recovery_steps=0)


def test_damaged_folders(model, reference, samples, tmp_path: Path):
    def again() -> CascadeResult:
        return run(model, reference, samples, directory=tmp_path, recovery_steps=0)

    first = again()
    tensors, record = tmp_path / "00-heads.safetensors", tmp_path / "00-heads.json"
    whole_file, whole_record = tensors.read_bytes(), record.read_text()
    tensors.write_bytes(whole_file[:-8])
    with pytest.raises(ValueError, match=r"00-heads\.safetensors is missing or damaged: .* remove this one"):
        again()
    tensors.write_bytes(whole_file)
    record.write_text("{")
    with pytest.raises(ValueError, match=r"00-heads\.json is damaged"):
        again()
    record.write_text(whole_record)
    assert same(again(), first)
    record.unlink()  # as when the run was killed between the two files
    assert same(again(), first)
    (tmp_path / "configuration.json").unlink()
    with pytest.raises(ValueError, match=r"holds stages such as 00-heads\.json but no configuration\.json"):
        again()


def test_the_configuration_can_be_read(model, reference, samples, tmp_path: Path):
    run(model, reference, samples, directory=tmp_path, recovery_steps=0)
    configuration = json.loads((tmp_path / "configuration.json").read_text())
    assert configuration["head_budget"] == 0.5 and set(configuration["samples"]) == set(samples)


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 1.0}, r"budget is 1\.0, but is the share of all units"),
        ({"heads": 0.8}, r"budget 0\.8 asks for 10 of 12 units, but the caps allow 9"),
        ({"channels": 0.97}, r"budget 0\.97 asks for .* of 384 units, but the caps allow 366"),
        ({"channels": 0.7, "protected_blocks": 1}, "budget 0.7 asks for 269 of 384 units, but the caps allow 244"),
        ({"method": "both"}, "method 'both' is unknown. Use one of: dual, dual_normalised"),
        ({"rule": "even"}, "rule 'even' is unknown"),
        ({"compensation": "magic"}, "compensation 'magic' is unknown. Use None, or one of: fold, reconstruct"),
        ({"protected_blocks": 3}, "protected_blocks is 3, but the encoder has 3 blocks"),
        ({"last_blocks": (0.1, 0.1)}, "last_blocks prunes the protected blocks, but none is protected"),
        ({"heads": 0.2, "channels": 0.2, "protected_blocks": 1, "last_blocks": (0.5, 0.1)}, "the caps allow 3"),
        ({"recovery_steps": -1}, "recovery_steps is -1, but counts from 0 up"),
        ({"fine_tuning_epochs": -1}, "fine_tuning_epochs is -1, but counts from 0 up"),
        ({"beta": -0.1}, r"beta is -0\.1, but it weighs a variance"),
        ({"learning_rate": 0.0}, r"learning_rate is 0\.0, but is a step down"),
        ({"calibration_images": 3}, "dataset 'polyps' holds 2 images, but the calibration size is 3"),
        ({"calibration_images": 0}, "calibration_images is 0"),
        ({"weights": {"polyps": 1.0}}, r"weights are for \['polyps'\], but the datasets are \['dermoscopy', "),
        ({"weights": {"polyps": 1.0, "ultrasound": 1.0, "dermoscopy": -1.0}}, "must be 0 or above with sum 1"),
        ({"weights": {"polyps": 0.5, "ultrasound": 0.5, "dermoscopy": float("nan")}}, "must be 0 or above with sum 1"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(
    model, reference, samples, monkeypatch, change: dict, message: str
):
    monkeypatch.setattr(cascade_module, "boundary_fisher", lambda *_, **__: pytest.fail("work was done first"))
    with pytest.raises(ValueError, match=message):
        run(model, reference, samples, **change)


def test_no_dataset(model, reference):
    with pytest.raises(ValueError, match="samples names no dataset"):
        run(model, reference, {})


@pytest.mark.parametrize("method", ["dual", "random"])
@pytest.mark.parametrize(
    ("sizes", "found"),
    [
        ({"width": 48, "depth": 3}, r"\(1, 8, 8, 48\)"),
        ({"width": 32, "depth": 2}, r"blocks\.2\.norm1\.weight .*missing"),
    ],
)
def test_a_reference_of_another_architecture(model, samples, tmp_path, monkeypatch, method, sizes, found):
    monkeypatch.setattr(cascade_module, "method_scores", lambda *_, **__: pytest.fail("work was done first"))
    with pytest.raises(ValueError, match=rf"belong to different encoders: .*{found} in the other, .* adapted from"):
        run(model, tiny_sam(size=64, neck=16, **sizes), samples, method=method, directory=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_fine_tuning_needs_two_images(model, reference, samples, monkeypatch):
    monkeypatch.setattr(cascade_module, "method_scores", lambda *_, **__: pytest.fail("work was done first"))
    with pytest.raises(ValueError, match="fine-tuning holds a part back, and there is one image"):
        run(model, reference, samples["polyps"], calibration_images=1, fine_tuning_epochs=1)
