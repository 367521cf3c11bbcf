"""One interface over the family: the batched decoder, the order of a batch, and inputs that cannot be used."""

import numpy as np
import pytest
import torch

from medlib.data import polyp_phantom
from medlib.models import Preprocessing, Segmenter, lite_medsam, tiny_sam

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    """Three phantoms, two of them cropped to other shapes."""
    one, two, three = (polyp_phantom(seed=5, size=128, index=i).image for i in range(3))
    return [one, two[:90], three[:, 20:]]


@pytest.fixture(scope="module")
def boxes() -> np.ndarray:
    return np.array([[30, 30, 90, 90], [10, 20, 110, 80], [5, 5, 60, 120]], np.float32)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return tiny_sam()


@torch.no_grad()
def decoded_one_by_one(segmenter: Segmenter, embeddings: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """What the network's own decoder says of each image on its own."""
    network, low = segmenter.network, []
    for embedding, box in zip(embeddings, boxes, strict=True):
        sparse, dense = network.prompt_encoder(points=None, boxes=box[None], masks=None)
        masks, _ = network.mask_decoder(
            image_embeddings=embedding[None],
            image_pe=network.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        low.append(masks[0, 0])
    return torch.stack(low)


@pytest.mark.parametrize("build", [lite_medsam, tiny_sam])
def test_decoding_a_batch_equals_the_networks_own_decoder(build, images, boxes):
    segmenter = build()
    channels, grid = segmenter.network.prompt_encoder.embed_dim, segmenter.network.prompt_encoder.image_embedding_size
    embeddings = torch.randn(3, channels, *grid, generator=torch.Generator().manual_seed(0))
    prompts = segmenter.boxes(images, boxes)
    with torch.no_grad():
        decoded = segmenter.decode(embeddings, prompts)
    expected = decoded_one_by_one(segmenter, embeddings, prompts)
    assert decoded.shape == expected.shape and expected.std() > 1e-3
    np.testing.assert_allclose(decoded, expected, atol=1e-4)


def test_lite_medsam_equals_its_own_forward():
    segmenter, sample = lite_medsam(), polyp_phantom(seed=5, size=200)
    image, box = sample.image[:150], np.array([[30, 30, 120, 110]])
    with torch.no_grad():
        inputs, prompts = segmenter.inputs([image]), segmenter.boxes([image], box)
        low = segmenter.network(inputs, prompts.numpy())
        expected = segmenter.network.postprocess_masks(low, (192, 256), (150, 200))
    assert low.shape == (1, 1, 256, 256)
    np.testing.assert_allclose(segmenter.logits([image], box)[0], expected[0, 0], atol=1e-4)


def test_a_logit_does_not_depend_on_the_rest_of_its_batch(segmenter: Segmenter, images, boxes):
    alone = [segmenter.logits([image], box[None])[0] for image, box in zip(images, boxes, strict=True)]
    assert [tuple(field.shape) for field in alone] == [image.shape[:2] for image in images]
    order = [2, 0, 1]
    for batch in (1, 2, 3):
        shuffled = segmenter.logits([images[i] for i in order], boxes[order], batch=batch)
        for position, i in enumerate(order):
            np.testing.assert_allclose(shuffled[position], alone[i], atol=1e-3)
    assert (alone[0][:90, :108] - alone[2][:90, :108]).abs().max() > 1e-2, "different images, different logits"


def test_the_box_matters(segmenter: Segmenter, images):
    wide, narrow = (segmenter.logits(images[:1], np.array([box]))[0] for box in ([10, 10, 120, 120], [50, 50, 70, 70]))
    assert (wide - narrow).abs().max() > 1e-3


def test_logits_carry_no_gradient_and_leave_the_model_as_it_was(segmenter: Segmenter, images, boxes):
    digest = segmenter.digest()
    assert not any(field.requires_grad for field in segmenter.logits(images, boxes))
    assert segmenter.digest() == digest
    assert not segmenter.network.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in segmenter.network.parameters())


@pytest.mark.parametrize(
    ("box", "message"),
    [([30, 30, 129, 90], "outside the image of 128 × 128"), ([60, 30, 40, 90], "spans no area")],
)
def test_a_box_that_cannot_be_used(segmenter: Segmenter, images, box: list[int], message: str):
    with pytest.raises(ValueError, match=message):
        segmenter.logits(images[:1], np.array([box]))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_as_many_boxes_as_images(segmenter: Segmenter, images, boxes, count: int):
    with pytest.raises(ValueError, match=rf"2 images with {count} boxes\. Give one box an image"):
        segmenter.logits(images[:2], boxes[:count])


def test_images_that_are_not_bytes(segmenter: Segmenter, images, boxes):
    with pytest.raises(TypeError, match=r"float32 values from 0 to 1; images are uint8"):
        segmenter.logits([np.linspace(0, 1, 49152, dtype=np.float32).reshape(128, 128, 3)], boxes[:1])
    with pytest.raises(ValueError, match="NaN"):
        segmenter.logits([np.full((128, 128, 3), np.nan)], boxes[:1])


def test_the_digest_is_of_weights_and_preprocessing():
    one, other = tiny_sam(size=64), tiny_sam(size=64)
    assert one.digest() == other.digest()
    with torch.no_grad():
        next(other.network.parameters()).view(-1)[0] += 1
    assert one.digest() != other.digest()
    squeezed = Segmenter(one.name, one.network, Preprocessing(64, keep_aspect=False))
    assert one.digest() != squeezed.digest()
