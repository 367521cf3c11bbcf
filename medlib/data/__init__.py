"""Images and masks: phantoms drawn here, files of others, box prompts, and checks before a model."""

from medlib.data.boxes import boxes_from_masks, ellipse_in_box, validate_boxes
from medlib.data.chosen_polyps import load_polyps
from medlib.data.dermoscopy import dermoscopy_phantoms
from medlib.data.images import validate_image
from medlib.data.modalities import PruningData, load_pruning_data, medical_phantoms
from medlib.data.photographs import Photograph, retina_photograph
from medlib.data.polyps import polyp_phantom, polyp_phantoms
from medlib.data.segmentation import SegmentationSample, SegmentationSet
from medlib.data.segmentation_files import load_segmentation
from medlib.data.shapes import shape_scenes
from medlib.data.ultrasound import ultrasound_phantoms

__all__ = [
    "Photograph",
    "PruningData",
    "SegmentationSample",
    "SegmentationSet",
    "boxes_from_masks",
    "dermoscopy_phantoms",
    "ellipse_in_box",
    "load_polyps",
    "load_pruning_data",
    "load_segmentation",
    "medical_phantoms",
    "polyp_phantom",
    "polyp_phantoms",
    "retina_photograph",
    "shape_scenes",
    "ultrasound_phantoms",
    "validate_boxes",
    "validate_image",
]
