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
# # Are heads the fragile part?
#
# MedCore {cite}`zhang2026medcore` ends with a diagnosis: MedSAM is *head-fragile*. Pruning attention heads has, for each
# percentage point of the encoder that goes, {claim}`medcore.blr95.paper:.3f` times the boundary leverage of pruning MLP
# channels. If that is so, one should spend the budget on channels, and the number tells how firmly.
#
# A ratio of medians of percentiles of ratios deserves care. Four things go into it, and each of them alone could make it:
# *where* the leverage is taken (a band around the boundary, or the whole image), *what* it is divided by (percentage points,
# as if damage were proportional to size), *which* steps are compared, and *how many* of them there really are. We vary one at
# a time, and in the end we leave leverage aside and ask the scores themselves. On this page you will
#
# 1. count the models of the published sweep that are really different;
# 2. map Dice, Boundary F1 and HD95 over a grid of head and channel budgets on a real model;
# 3. compute the ratio with an interval, in a true boundary band and in the script's;
# 4. compare head and channel steps *of the same size*;
# 5. ask whether heads are fragile at the boundary or just everywhere, and whether leverage is harm.

# %% tags=["parameters"]
profile = "laptop"  # smoke, laptop or paper
seed = 0
polyps = ""  # your images: a MedSegBench .npz file, or a folder with images/ and masks/
checkpoint = ""  # your ViT-B checkpoint, for the paper profile

# %%
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from medlib import boundary, ledger, models, plotting
from medlib.data import SegmentationSet, boxes_from_masks, load_polyps
from medlib.pruning import budget_grid as grids
from medlib.pruning import encoder_blocks, fragility
from medlib.pruning.fisher import block_sensitivity, boundary_fisher
from medlib.pruning.gated_logits import gated_logits, sweep_logits
from medlib.pruning.rival_scores import random_scores
from medlib.pruning.scores import group_scores
from medlib.run import start
from tqdm import tqdm

run = start("05_head_fragility", globals())
settings = run.profile.fragility
plotting.use_style()

# %% [markdown]
# ## Forty-nine points that are not
#
# The published sweep crosses seven head budgets with seven channel budgets on SAM's ViT-B encoder. But two of its twelve
# blocks are protected, one head must stay in a block, and so must a twentieth of its channels. Budgets that ask for more than
# this allows all hit the same ceiling and give the same model. No image is needed to count: the architecture is enough.

# %%
with torch.device("meta"):  # shapes without numbers
    encoder = models.sam_vit_b().encoder
blocks = encoder_blocks(encoder)
asked = ((0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), (0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95))
rules = grids.BudgetRules("authors", (1.0,) * len(blocks), protected=(10, 11))
levels, order = rules.levels(blocks, *asked), random_scores(encoder, run.generator("order"))
sweep = grids.budget_grid(encoder, order, *levels, rules)  # which groups go does not matter here
steps = [[s.points for s in grids.grid_steps(sweep, k, 1)] for k in ("heads", "channels")]
published = np.median(steps[1]) / np.median(steps[0])
ledger.record("medcore.grid.distinct", len(sweep.masks))
ledger.record("medcore.step.ratio", published)
ledger.record("medcore.h40m85.params", sweep.head_points[1] + sweep.channel_points[-1])
table = {"asked for": map(len, asked), "distinct": map(len, levels), "largest": map(max, levels)}
table |= {f"{f.__name__} step": [f(points) for points in steps] for f in (min, np.median, max)}
pd.DataFrame(table, pd.Index(["heads", "channels"], name="budget")).round(2)

# %% [markdown]
# *Budgets of the published sweep, how many of them differ, the largest one that can be met, and the size of a step to the next
# in percentage points of the encoder.* Six times four models are left of the 49, and a step between two equal ones has size
# zero. The table holds a second thing to remember: **a channel step is about four times as large as a head step.**
#
# ## The prompt moves outlines too
#
# Before we cut anything, a word on what the published scores are compared with. MedCore's code scores its unpruned baseline with
# jittered boxes, while its headline result has exact ones. We prompt the profile's model both ways. How large the authors'
# jitter is we do not know; each side of our boxes moves by up to as many pixels as in MedSAM's own training
# {cite}`ma2024segment`, scaled to the image.

# %%
model = models.load_segmenter(run.profile.segmentation, checkpoint).to(run.device)
samples = load_polyps(run.profile.segmentation, polyps, run.seed, limit=settings.images)
boxes, count = boxes_from_masks(samples.masks), len(samples)
METRICS = {
    "Dice": boundary.dice,
    "Boundary F1": boundary.boundary_f1,
    "Boundary F1, no tolerance": partial(boundary.boundary_f1, tolerance=False),
    "HD95 (px)": boundary.hd95,
}


def measured(fields: list) -> pd.DataFrame:
    """Every score of every image."""
    pairs = [(z > 0, mask) for z, mask in zip(fields, samples.masks)]
    return pd.DataFrame({name: [f(*pair) for pair in pairs] for name, f in METRICS.items()})


generator, jitter = run.generator("boxes"), settings.box_jitter
jittered = [boxes_from_masks(samples.masks, jitter, generator) for _ in range(5)]
embeddings, restore = model.embed(samples.images, batch=1), model.preprocessing.restore
dense = []
for prompts in (boxes, *jittered):
    with torch.no_grad():
        low = model.decode(embeddings, model.boxes(samples.images, prompts))[:, None].cpu()
    dense.append([restore(z, *mask.shape)[0].numpy() for z, mask in zip(low, samples.masks)])
exact, *loose = map(measured, dense)
loose, note = sum(loose) / len(jittered), f"mean of 5 draws of up to {jitter} px a side"
lost = run.record_mean("medcore.boxes.jitter", (exact - loose)["Boundary F1"], note)
print(f"Boundary F1 lost by jitter of up to {jitter} px: {lost}")
pd.DataFrame({"exact boxes": exact.mean(), "jittered boxes": loose.mean()}).round(3)

# %% [markdown]
# *The unpruned model with two kinds of boxes.* So the published baseline ({claim}`medcore.baseline.bf1.paper`) and headline
# ({claim}`medcore.headline.bf1.paper`) are not like for like: the prompt alone may make a good part of what separates them.
#
# ## A map of the damage
#
# Now we remove heads and channels and do nothing to help the model recover. Budgets are mild, because once everything is broken
# nothing can be compared. They are shared out over the blocks in proportion to their size, and inside a block the lowest scores
# go first, so a larger budget removes the same groups and some more.
#
# The score is MedCore's zeroing score, half the sum of Fisher information times squared weight ({prf:ref}`def-scores`).
# LiteMedSAM has no published ancestor to be reset to, so the other half of dual intervention is left out. The Fisher
# information is taken against the model's *own* masks, where the model is near a minimum as the derivation assumes
# ({prf:ref}`prop-own-labels`).
#
# One thing in the design matters more than it seems. Which groups have the lowest scores depends on the images that the scores
# were measured on, and one unlucky head can decide everything. If all images shared one choice, an interval over images would
# know nothing of that. So every image gets **cuts of its own**, from the scores of its neighbour in the list, never of itself.

# %%
blocks = encoder_blocks(model.encoder)
protected = tuple(range(len(blocks)))[len(blocks) - settings.protected_blocks :]
is_medsam, logits, harsh = run.profile.segmentation.model == "medsam_vit_b", {}, []
for k in tqdm(range(count)):
    near = [(k + 1 + i) % count for i in range(settings.calibration_images)]
    seen = [replace(samples[i], mask=dense[0][i] > 0) for i in near]
    fisher = boundary_fisher(model, SegmentationSet.from_samples(seen, "the model's own masks"))
    score = group_scores(model.encoder, model.encoder, fisher, fisher).zero
    rules = grids.BudgetRules(settings.rule, tuple(block_sensitivity(blocks, fisher)), protected)
    levels = rules.levels(blocks, settings.head_budgets, settings.channel_budgets)
    grid = grids.budget_grid(model.encoder, score, *levels, rules)
    sweep = sweep_logits(
        model, grid.masks.values(), [samples.images[k]], boxes[k : k + 1], run.store
    )
    for place, fields in zip(grid.masks, sweep):
        logits.setdefault(place, []).extend(fields)
    if is_medsam:  # heads .4, MLP .85, jittered: no other model can stand in for it
        masks, box = grid.masks[grid.heads.index(0.4), len(grid.channels) - 1], jittered[0][k]
        harsh += gated_logits(model, masks, [samples.images[k]], box[None], run.store)
print(f"{model.name}: {count} images, each with {len(grid.masks)} models of its own")
if is_medsam:
    note = "the images given, not the macro mean of three sets"
    run.record_mean("medcore.baseline.bf1", loose["Boundary F1"], note)
    run.record_mean("medcore.baseline.hd95", loose["HD95 (px)"], note)
    run.record_mean("medcore.h40m85.bf1", measured(harsh)["Boundary F1"], note)

# %%
tables = {place: measured(fields) for place, fields in logits.items()}
shape = (len(grid.heads), len(grid.channels))
maps = {
    name: np.array([tables[place][name].mean() for place in np.ndindex(shape)]).reshape(shape)
    for name in METRICS
}
figure = plotting.plot_budget_maps(maps, grid, lower_is_better=["HD95 (px)"])

# %% [markdown]
# *Four maps of the same models, means over the images; bright is good. To the right heads go, upward channels go; the numbers
# in brackets say what share of the encoder that is.* Two things can be seen. Boundary scores pay for every cut far more than Dice
# does. And if one compares cells of the bottom row with cells of the left column that have about the same number in brackets,
# heads do not stand out. Where, then, does a ratio of almost three come from?
#
# Here are two of the pictures, once with heads and once with channels taken away, nearly the same number of parameters.

# %%
every = {kind: grids.grid_steps(grid, kind) for kind in ("heads", "channels")}
matched = grids.matched_steps(every["heads"], every["channels"])
first = next(pair for pair in matched if pair[0].start == (0, 0))
cases = []
for k in range(2):
    outlines, title = {"truth": samples.masks[k]}, ""
    for kind, step in zip(every, first):
        outlines[f"without some {kind}"] = logits[step.end][k]
        bf1 = tables[step.end]["Boundary F1"][k]
        title += f"{step.points:.1f} % in {kind}: BF1 {bf1:.2f}\n"
    cases.append(plotting.Case(title.strip(), samples.images[k], outlines))
figure = plotting.plot_cases(cases)

# %% [markdown]
# *Two images with the outlines of two pruned models that lack nearly the same share of the encoder. BF1 is Boundary F1 with the
# tolerance.* Where the outlines fail, and which of the two fails worse, differs from picture to picture. Intervals below
# resample whole images, and with each image its cuts.
#
# ## The ratio
#
# A *step* goes from one model of the grid to another that lacks more heads, or more channels. Its $\lambda_{95}$ is the 95th
# percentile of $\lvert\Delta z\rvert/\lvert\nabla z\rvert$ in the band, divided by the percentage points that the step removes
# ({prf:ref}`def-leverage`). **BLR95** is the median over head steps divided by the median over channel steps. **RLR** is the
# same ratio with the mean $\lvert\Delta z\rvert$ of the whole image in place of leverage, and **BSR** = BLR95/RLR is what is
# left for the boundary.
#
# To stay close to the published sweep, each head step to the next budget is set against a channel step that is several times as
# large, as theirs are. We take each image by itself, and the leverage of a step is its median over the images. The steps share
# a handful of images and are anything but independent, so the interval resamples images and not steps.

# %%
narrow = grids.grid_steps(grid, "heads", 1)
wide = grids.grid_steps(grid, "channels", settings.channel_stride)
larger = np.median([s.points for s in wide]) / np.median([s.points for s in narrow])
bands = {f"τ = {tau} px": (tau, "both_sides") for tau in (1, 3, 5)}
bands |= {"script (whole image)": (3, "whole_image")}


def compare(heads, channels, band: tuple, one_to_one: bool = False) -> boundary.LeverageSummary:
    """Head steps against channel steps in one band."""
    data = (logits, samples.masks, *band)
    kinds = [fragility.measure_steps(steps, *data) for steps in (heads, channels)]
    return fragility.compare_on_images(*kinds, run.generator("images"), one_to_one)


theirs = {name: compare(narrow, wide, band) for name, band in bands.items()}
main, script = theirs["τ = 3 px"], theirs["script (whole image)"]
kept = {"n": count, "note": f"channel steps {larger:.1f} times as large as head steps"}
ledger.record("medcore.blr95.authors_band", script.blr95, script.blr95_interval, **kept)
for claim in ("medcore.blr95", "medcore.rlr", "medcore.bsr", "medcore.win_rate95"):
    name, scale = claim.removeprefix("medcore."), 100 if "rate" in claim else 1
    interval = getattr(main, f"{name}_interval")
    interval = interval and [scale * bound for bound in interval]
    ledger.record(claim, scale * getattr(main, name), interval, **kept)
print(f"a channel step is {larger:.1f} head steps here, {published:.1f} in the published sweep")
table = pd.DataFrame(theirs.values(), pd.Index(theirs, name="band"))
table["95 %"] = [np.round(pair or (), 2) for pair in table["blr95_interval"]]
table = table[["blr95", "95 %", "rlr", "bsr", "win_rate95", "median_difference"]].round(2)
table.set_axis(["BLR95", "95 %", "RLR", "BSR", "wins", "difference"], axis=1)

# %% [markdown]
# *The ratio in four bands with its 95 % interval, the whole-image ratio, the boundary-specific part, the share of starts at which
# the head step has the larger leverage, and the median difference of the two in pixels per percentage point. The last row has
# the band of the authors' script, which is the whole image ({prf:ref}`prop-band`).* From here, it seems: the ratio is well above 1.
# Measured as in the paper, this model is head-fragile too. The published {claim}`medcore.blr95.paper:.3f` is MedSAM's, on
# other images and with far larger cuts, so the number itself is not at stake here, only its direction. The width of the band
# changes little, and even the whole image gives much the same, so the fault in the script is not what makes the ratio. What does?
#
# ## Steps of the same size
#
# Dividing by the size of a step makes steps comparable *if* damage is proportional to size. If it grows more slowly, large steps
# look harmless, and channel steps are the large ones: a ratio above 1 can come out of nothing ({prf:ref}`prop-linearity`). The
# grid can tell, because between its models there are steps of many sizes.

# %%
data = (logits, samples.masks, *bands["τ = 3 px"])
leverages = {kind: fragility.measure_steps(steps, *data) for kind, steps in every.items()}
figure = plotting.plot_step_chains(leverages)

# %% [markdown]
# *One marker a step, median over images; lines join steps that begin at the same model. If damage were proportional to size, the
# lines would be level.* They fall, nearly all of them and for both kinds: a step twice as large does not move the outline twice as far, so per point
# it looks better. To put a number on it: let the leverage of a step, before it is divided by anything, grow as its size to the
# power $p$. Then $p = 1$ is proportionality, and $p = \tfrac12$ is what many independent contributions of mixed sign would give.

# %%
growth = {kind: fragility.growth_exponents(steps) for kind, steps in leverages.items()}
exponent = run.record_mean("medcore.step.exponent", growth["channels"])
print(f"channels: p = {exponent}; heads: p = {growth['heads'].mean():.2f}")
alone = published ** (1 - growth["channels"].mean())
print(f"what a channel step gains in λ95 by being {published:.1f} times as large: {alone:.2f}")

# %% [markdown]
# The number printed last is the ratio that comes out at the published sizes if heads and channels are *equally* harmful. So now we
# compare only steps from a common start that remove nearly the same number of parameters (within 15 %).

# %%
pairs = tuple(zip(*matched))
ours = {name: compare(*pairs, band, one_to_one=True) for name, band in bands.items()}
same, note = ours["τ = 3 px"], f"{len(matched)} pairs of steps"
ledger.record("medcore.blr95.matched", same.blr95, same.blr95_interval, count, note)
names = (f"channel steps {larger:.1f} times as large", "steps of equal size")
rows = {
    band: {n: plotting.Estimate(s.blr95, s.blr95_interval) for n, s in zip(names, both)}
    for band, *both in zip(bands, theirs.values(), ours.values())
}
both = zip(names, (main, same))
rows["mean |Δz| (RLR)"] = {n: plotting.Estimate(s.rlr, s.rlr_interval) for n, s in both}
marks = {"equally fragile": 1.0, "published": ledger.current().claims["medcore.blr95"].paper}
figure = plotting.plot_estimates(rows, "heads over channels (above 1: heads more fragile)", marks)

# %% [markdown]
# *The ratio with its 95 % interval, by band, for two choices of steps from the very same models. The last row has the mean change
# of the logits in place of leverage.* The choice of steps matters far more than the choice of the band. With channel steps
# nearly as much larger as in the published sweep the ratio stands well above 1; with steps of equal size it comes down, and the
# interval includes 1: from so few images nobody can say that heads are the more fragile kind.
#
# ## Leave leverage aside
#
# Leverage is a means to an end, and the end is the score. Here are the matched pairs again, with what they cost in Boundary F1.

# %%
difference = [(tables[c.end] - tables[h.end])["Boundary F1"] for h, c in matched]
bf1 = run.record_mean("medcore.matched.bf1", np.mean(difference, axis=0), note)
print(f"Boundary F1 that a head step costs more than a channel step of its size: {bf1}")
spread = np.mean(difference, axis=0)
print(f"image by image from {spread.min():.2f} to {spread.max():.2f}")
reach = {m.step: np.median(m.p95) for steps in leverages.values() for m in steps}
columns = {
    "heads gone": [f"{grid.heads[h.start[0]]:.0%}" for h, _ in matched],
    "channels gone": [f"{grid.channels[h.start[1]]:.0%}" for h, _ in matched],
    "size of the steps": [f"{h.points:.1f}, {c.points:.1f}" for h, c in matched],
    "λ95 ratio": [reach[h] / reach[c] for h, c in matched],
    "BF1 lost: heads − channels": [values.mean() for values in difference],
}
pd.DataFrame(columns).set_index(["heads gone", "channels gone"]).round(2)

# %% [markdown]
# *Pairs of a head step and a channel step of nearly the same size (percentage points) from the same model; the first two columns
# say what that model lacks already. Then λ95 of the head step over that of the channel step, and Boundary F1 lost by the first
# minus lost by the second.* In the score that leverage stands for, nothing shows that heads are the costlier choice: the interval
# has zero well inside. Image by image the difference is large and goes both ways, and each image has its own choice of heads. So the
# image, or *which* heads go, matters a great deal, and that they are heads cannot be seen to matter. A comparison that lets all
# images share one choice could mistake that choice for a law.
#
# ## At the boundary, or everywhere?
#
# BSR divides what heads do at the boundary by what they do to the logits of the whole image. An interval wholly above 1 would say
# that heads hold the boundary in particular.

# %%
for name, s in zip(names, (main, same)):
    print(f"{name}: BSR {s.bsr:.2f}, interval {np.round(s.bsr_interval or (), 2)}")

# %% [markdown]
# It does not say so: both intervals include 1. As far as these images tell, whatever heads do at the boundary, they do to the picture
# as a whole, and RLR goes where BLR95 goes. "Head-fragile" may be right; that the *boundary* is what is special about heads cannot be
# seen here.
#
# ## Is leverage harm?
#
# Leverage is meant to explain why boundary scores fall, and the abstract calls the two consistent. Larger steps raise both, so size
# has to be held fixed: we rank all steps by leverage, by lost Boundary F1 and by size, and take out of the first two what the third
# explains. Beside the loss against the *truth* we take a plainer quantity: how much the model's own mask changes in the step.

# %%
steps = [*leverages["heads"], *leverages["channels"]]
lost = np.array([(tables[m.step.start] - tables[m.step.end])["Boundary F1"] for m in steps])
ends = [[logits[place] for place in (m.step.start, m.step.end)] for m in steps]
change = [[1 - boundary.boundary_f1(a > 0, b > 0) for a, b in zip(*both)] for both in ends]
good = np.array([tables[m.step.start]["Boundary F1"].mean() > 0.9 for m in steps])
reach = np.array([np.median(m.p95) * m.step.points for m in steps])
for claim, values in (
    ("medcore.fragility.correlation", lost),
    ("medcore.fragility.change", np.array(change)),
):
    found = fragility.leverage_against_loss(steps, values, run.generator("correlation"))
    print(f"{ledger.current().claims[claim].title}: {ledger.record(claim, *found, count)}")
kinds = {"start above 0.9 in Boundary F1": good, "start already damaged": ~good}
kinds = {label: (reach[chosen], lost[chosen].mean(axis=1)) for label, chosen in kinds.items()}
xlabel = "95th percentile of |Δz|/|∇z| in the band (pixels)"
figure = plotting.plot_steps(kinds, xlabel, "Boundary F1 lost")

# %% [markdown]
# *One marker a step: how far leverage says that the worst twentieth of the band moves, and what Boundary F1 lost.* Leverage tells
# very well how far an outline *moves*, at fixed size too, and it goes with the loss, which is what the abstract says. But moving is
# not yet harm: steps of the same leverage cost less where the model was already damaged, perhaps because an outline that is wrong
# can also move back. A ratio over a grid of mostly damaged models, as in a sweep without recovery, mixes the two.
#
# ### A floor that depends on the company
#
# One detail of the script is left. Leverage divides by $\lvert\nabla z\rvert$, which may be tiny, so there is a floor under it. The
# script takes the floor from the *whole stack* of images. We exchange each image's companions and leave the image alone.

# %%
step = max(wide, key=lambda step: step.points)
ends = (logits[place] for place in (step.start, step.end))
changes = 100 * fragility.companion_change(*ends)
ledger.record("medcore.floor.companions", changes.max(), n=count)
print(f"λ95 of one image: up to {changes.max():.1f} % apart, median {np.median(changes):.1f} %")

# %% [markdown]
# Ours is a floor for each image, so that an image's number is its own.
#
# ## What reproduced, and what did not

# %%
run.verdicts()

# %% [markdown]
# **In short.** Are heads the fragile part? By the paper's ratio, measured the paper's way, yes: on this page's model too, head steps
# have clearly more leverage for each percentage point. But much of that is the size of the steps. Leverage grows more slowly than the
# number of parameters removed, the sweep's channel steps are several times larger than its head steps, and dividing by size does
# the rest. At equal size the ratio comes down to where it cannot be told from 1, and in Boundary F1 itself we see no sign
# that heads cost more than channels. Nor can the ratio be seen to be about the boundary: heads disturb the whole picture in much the
# same proportion. The band that is the
# whole image, a real fault, hardly changes it. Leverage itself does what it should: it says how far outlines move.
#
# The published {claim}`medcore.blr95.paper:.3f` is MedSAM's, at far larger cuts, from a grid of {claim}`medcore.grid.distinct:.0f`
# different models; only the paper profile can say whether it stands. A ratio of this kind should be shown at matched size, beside
# the scores, and over more than one choice of heads. All of it describes cutting *without* repair; what becomes of a cut when the
# kept weights are solved for again was seen in {doc}`/notebooks/14_compensated_pruning`.
