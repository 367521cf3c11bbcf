"""The SAM family behind one small interface, and the segmenter that a profile names."""

from medlib.models.family import lite_medsam, load_weights, sam_vit_b, tiny_sam
from medlib.models.pair import SegmenterPair, load_pair, prepare_pair
from medlib.models.prepared import load_segmenter, prepare_segmenter
from medlib.models.preprocessing import Preprocessing
from medlib.models.segmenter import Segmenter
from medlib.models.training import dice_loss, train_segmenter

__all__ = [
    "Preprocessing",
    "Segmenter",
    "SegmenterPair",
    "dice_loss",
    "lite_medsam",
    "load_pair",
    "load_segmenter",
    "load_weights",
    "prepare_pair",
    "prepare_segmenter",
    "sam_vit_b",
    "tiny_sam",
    "train_segmenter",
]
