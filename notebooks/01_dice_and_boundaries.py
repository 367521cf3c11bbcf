# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Dice and boundaries
#
# A surgeon who removes a polyp cuts along its edge. A segmentation that covers the polyp well but draws its edge badly
# is of little use to her, and yet the score that most papers report, **Dice**, hardly notices the difference.
#
# MedCore {cite}`zhang2026medcore` argues from this gap: pruning a medical segmentation model can leave Dice almost as
# it was while the boundary decays. Before we prune anything we need scores that see a boundary, and we need to know
# what each of them hides. On this page you will
#
# 1. see four predictions with *the same* Dice and very different edges;
# 2. meet the two definitions of Boundary F1 that circulate in MedCore's code, and how far apart they are;
# 3. find out how much of a good score the *box prompt* gives away before a model has looked at the picture;
# 4. run a real medical model, LiteMedSAM, and score it with all of this in mind.

# %% tags=["parameters"]
profile = "laptop"  # smoke, laptop or paper
seed = 0
polyps = ""  # your images: a MedSegBench .npz file, or a folder with images/ and masks/
checkpoint = ""  # your ViT-B checkpoint, for the paper profile

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown
from medlib import boundary, ledger
from medlib.data import boxes_from_masks, ellipse_in_box, load_polyps, polyp_phantom
from medlib.models import load_segmenter
from medlib.plotting import Case, plot_cases, plot_curves, plot_paired_scores, use_style
from medlib.run import start

run = start("01_dice_and_boundaries", globals())
use_style()

# %% [markdown]
# ## One Dice, four boundaries
#
# For a predicted set of pixels $P$ and a true set $T$,
#
# $$ \mathrm{Dice} = \frac{2\,|P \cap T|}{|P| + |T|}, \qquad \mathrm{IoU} = \frac{|P \cap T|}{|P \cup T|}. $$
#
# Both count pixels by area, and neither asks where the wrong pixels are. We take a polyp *phantom*, a rendered
# colonoscopy scene whose true mask is known exactly, and spoil its mask in four ways, each just strongly enough to
# bring Dice down to 0.92.

# %%
sample = polyp_phantom(seed=run.seed, size=256)
spoilt = boundary.same_dice(sample.mask, target=0.92, generator=run.generator("same Dice"))
cases = [
    Case(
        f"{name}\nDice {boundary.dice(mask, sample.mask):.3f}",
        sample.image,
        {"truth": sample.mask, "prediction": mask},
    )
    for name, mask in spoilt.items()
]
figure = plot_cases(cases)

# %% [markdown]
# *Four predictions with the same Dice: two thin crescents of error, an even rim, a frayed outline, and a disc where there is nothing. A reader
# of the score alone could not tell them apart; a clinician could.*
#
# Two kinds of score look at the edge itself.
#
# * **Boundary F1** (BF1) compares *bands* around the two outlines. MedCore's code takes the band of all pixels that a
#   5 × 5 square dilation adds and a 5 × 5 erosion removes, and lets a band pixel count as found when the other band
#   comes within a further 2 pixels. Precision and recall of that matching give F1.
# * **HD95** takes the outermost one-pixel layer of each mask, measures from each of its pixels the distance to the other
#   layer, and takes the 95th percentile, in pixels; the larger of the two directions counts: how far off the worst stretches of
#   the outline are. Two empty masks score 0; one empty mask scores the larger side of the image.

# %%
table = pd.DataFrame(
    [boundary.segmentation_scores(mask, sample.mask) for mask in spoilt.values()],
    index=list(spoilt),
)
table["BF1, no tolerance"] = [
    boundary.boundary_f1(mask, sample.mask, tolerance=False) for mask in spoilt.values()
]
table = table.rename(columns={"dice": "Dice", "boundary_f1": "BF1", "hd95": "HD95 (px)"})
table[["Dice", "BF1", "BF1, no tolerance", "HD95 (px)"]].round(3).round({"HD95 (px)": 1})

# %% [markdown]
# Equal in the first column, to within a few thousandths, and nowhere else. The scores also disagree with each other: the false island is a
# disaster for HD95, while Boundary F1 rates it the best of the four, because the true outline is traced perfectly. No single number is
# "the" boundary quality.
#
# ## Two Boundary F1 scores
#
# The extra 2 pixels in the matching are a *tolerance*. MedCore's code holds a second definition without it. How much does that matter? We move a disc over itself and watch.

# %%
rows, columns = np.mgrid[:256, :256]
disc = (rows - 128) ** 2 + (columns - 128) ** 2 <= 40**2
shifts = np.arange(0, 11)
moved = [np.roll(disc, s, axis=1) for s in shifts]
curves = {
    "Dice": [boundary.dice(m, disc) for m in moved],
    "BF1 with tolerance": [boundary.boundary_f1(m, disc) for m in moved],
    "BF1 without tolerance": [boundary.boundary_f1(m, disc, tolerance=False) for m in moved],
}
figure = plot_curves(shifts, curves, "shift of a disc of radius 40 (pixels)", "score")

# %% [markdown]
# *With the tolerance, a shift of two pixels costs nothing at all and BF1 stays above Dice for longer still; without it,
# BF1 falls at once, far below Dice.* The tolerance counts the radius twice: bands of half-width 2 are matched within 2 more, so
# outlines that never touch can score 1. {prf:ref}`prop-bf1` derives where the curve leaves 1
# and where it reaches 0.

# %%
shifted = np.roll(disc, (-2, 3), axis=(0, 1))
shift_score = boundary.boundary_f1(shifted, disc)
ledger.record("medcore.bf1.shift", shift_score, note="disc of radius 40 in 256 × 256 pixels")
strict = boundary.boundary_f1(shifted, disc, tolerance=False)
print(
    f"shift by (3, −2): BF1 {shift_score:.3f} with tolerance, {strict:.3f} without, Dice {boundary.dice(shifted, disc):.3f}"
)

# %% [markdown]
# ### What lies outside the picture?
#
# A third convention hides in the erosion. MedCore's *metric* treats the outside of the image as background, so a lesion
# cut off by the frame has a boundary along the frame; the loss behind its *Fisher scores* (Part II) treats the outside as lesion, and
# there is none. We crop phantoms so that the frame cuts the lesion and count the band pixels on which the two disagree.

# %%
different = []
for index in range(8):
    mask = polyp_phantom(seed=run.seed, size=128, index=index).mask
    cut = mask[:, int(np.median(np.nonzero(mask)[1])) :]
    metric, loss = (
        boundary.square_band(cut, 2),
        boundary.square_band(cut, 2, outside="foreground"),
    )
    different.append((metric ^ loss).sum() / (metric | loss).sum())
share = run.record_mean("medcore.erosion.convention", different)
print(f"{share.value:.0%} of the band pixels differ when the frame cuts a lesion in half")

# %% [markdown]
# ## How much does the box already say?
#
# The SAM family segments what a *box* surrounds, and benchmarks draw that box from the true mask. So part of the answer
# is handed over with the question. The control is a model that never looks at the picture: **the ellipse inscribed in the
# box**. Any score must be read against it.
#
# The images of this run are the profile's phantoms, or your own files when you gave them.

# %%
samples = load_polyps(run.profile.segmentation, polyps, run.seed)
segmenter = load_segmenter(run.profile.segmentation, checkpoint).to(run.device)
boxes = boxes_from_masks(samples.masks, names=samples.names)
logits = segmenter.logits(samples.images, boxes, batch=1)
predictions = {
    "ellipse": [
        ellipse_in_box(box, *mask.shape) for box, mask in zip(boxes, samples.masks, strict=True)
    ],
    segmenter.name: [field.numpy() > 0 for field in logits],
}
Markdown(f"{len(samples)} images from {samples.source}; model: {segmenter.name} on {run.device}.")

# %%
cases = [
    Case(name, image, {"truth": mask, segmenter.name: model, "ellipse": ellipse})
    for name, image, mask, model, ellipse in zip(
        samples.names,
        samples.images,
        samples.masks,
        predictions[segmenter.name],
        predictions["ellipse"],
        strict=True,
    )
][:4]
figure = plot_cases(cases)

# %% [markdown]
# *Four of the images: the truth, what the model drew, and the ellipse that the box alone suggests.*

# %%
scores = {
    name: pd.DataFrame(
        [boundary.segmentation_scores(p, m) for p, m in zip(masks, samples.masks, strict=True)]
    )
    for name, masks in predictions.items()
}
metrics = {"Dice": "dice", "BF1": "boundary_f1", "HD95 (px)": "hd95"}
shown = {
    label: {name: table[column] for name, table in scores.items()}
    for label, column in metrics.items()
}
figure = plot_paired_scores(shown, lower_is_better=["HD95 (px)"])

# %% [markdown]
# *One dot an image, black bars at the means. The ellipse, which never saw a picture, already earns much of the Dice; it
# earns far less of the boundary scores. On the roundest lesions it comes close in Dice.*

# %%
columns = []
for name, masks in predictions.items():
    strict = [
        boundary.boundary_f1(p, m, tolerance=False)
        for p, m in zip(masks, samples.masks, strict=True)
    ]
    scores[name]["strict"] = strict
    columns.append(scores[name][["dice", "boundary_f1", "strict", "hd95"]].mean().rename(name))
pd.DataFrame(columns).T.rename(
    {"dice": "Dice", "boundary_f1": "BF1", "strict": "BF1, no tolerance", "hd95": "HD95 (px)"}
).round(3)

# %%
model, ellipse = scores[segmenter.name], scores["ellipse"]
for claim, values in {
    "medcore.ellipse.dice": ellipse["dice"],
    "medcore.zero_shot.dice": model["dice"],
    "medcore.bf1.conventions": model["boundary_f1"] - model["strict"],
}.items():
    run.record_mean(claim, values.to_numpy(), f"{segmenter.name}, {samples.source}")
apart = model["boundary_f1"] - ellipse["boundary_f1"]
print(
    f"model − ellipse: Dice {(model['dice'] - ellipse['dice']).mean():+.3f}, BF1 {apart.mean():+.3f}"
)

# %% [markdown]
# ## What reproduced, and what did not
#
# Each row below is an entry of the {doc}`ledger </book/ledger>`: what was claimed, what this run measured with its 95 %
# bootstrap interval over images, and the verdict that follows.

# %%
run.verdicts()

# %% [markdown]
# **In short.** The same Dice can hide very different boundaries. A Boundary F1 means nothing until its tolerance is named: the two definitions
# in MedCore's code are far apart on the very same predictions (last row). And a Dice that looks high must be compared with what the box
# alone gives away.
#
# Next: {doc}`how far a boundary moves when logits change </book/theory/boundary_leverage>`, in theory and then
# {doc}`on a real model </notebooks/02_boundary_leverage>`.
