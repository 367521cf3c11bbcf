"""Images and masks: phantoms drawn here, files of others, box prompts, and checks before a model."""

from medlib.data.boxes import boxes_from_masks, ellipse_in_box, validate_boxes
from medlib.data.chosen_polyps import load_polyps
from medlib.data.images import validate_image
from medlib.data.photographs import Photograph, retina_photograph
from medlib.data.polyps import polyp_phantom, polyp_phantoms
from medlib.data.segmentation import SegmentationSample, SegmentationSet
from medlib.data.segmentation_files import load_segmentation

__all__ = [
    "Photograph",
    "SegmentationSample",
    "SegmentationSet",
    "boxes_from_masks",
    "ellipse_in_box",
    "load_polyps",
    "load_segmentation",
    "polyp_phantom",
    "polyp_phantoms",
    "retina_photograph",
    "validate_boxes",
    "validate_image",
]
