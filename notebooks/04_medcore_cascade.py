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
# # Cutting for real: the cascade, its controls, and a repair
#
# A score is worth what the pruned model is worth. MedCore {cite}`zhang2026medcore` prunes in a *cascade*: attention heads first, a short recovery by
# training, then MLP channels, then recovery again. Its headline is a MedSAM with {claim}`medcore.headline.params.paper` % of the encoder
# gone and good boundaries.
#
# How much of that is owed to the score, how much to the recovery, and how much to a model that had too much of everything? A method's own
# results cannot tell. It takes *controls*: the same budget and the same recovery with groups removed at random, by magnitude, by
# |Taylor|, by one half of the score alone; and the *dense* model, from which nothing was removed, trained for as many more steps. We
# also try something else. The moment a group is gone we know what is missing, and can solve for kept weights that put it back
# ({doc}`/book/theory/compensation`): no labels, no training.
#
# On this page you will
#
# 1. count what the published budgets remove, exactly;
# 2. run the cascade and its controls on a small pair of models, several times each;
# 3. set a repair without training beside recovery by training;
# 4. see three details of the published code go wrong, and what to do instead.

# %% tags=["parameters"]
profile = "laptop"  # smoke, laptop or paper
seed = 0
polyps = ""  # your images: a MedSegBench .npz file, or a folder with images/ and masks/
checkpoint = ""  # your MedSAM ViT-B checkpoint, for the paper profile
reference = ""  # your SAM ViT-B checkpoint, for the paper profile

# %%
import numpy as np
import pandas as pd
import torch
from medlib import ledger, models, plotting, pruning
from medlib.boundary import segmentation_scores
from medlib.data import SegmentationSet, boxes_from_masks, load_pruning_data
from medlib.run import start
from tqdm import tqdm

run = start("04_medcore_cascade", globals())
settings = run.profile.pruning
plotting.use_style()

# %% [markdown]
# ## What sixty per cent means
#
# Percentages follow from a counting rule, and the paper does not state one. We take ViT-B's encoder, a head as its rows of the query, key and
# value maps with its columns of the output projection, and budgets as shares of *all* twelve blocks although the last two stay whole.
# Budgets of 0.5 for heads and 0.7 for channels, shared out evenly, then remove this much:

# %%
with torch.device("meta"):  # shapes are enough to count
    vit_b = models.sam_vit_b()
encoder, whole = vit_b.encoder, sum(p.numel() for p in vit_b.network.parameters())
even, last_two = [1.0] * 12, (10, 11)
quotas = [
    pruning.allocate(even, budget, units, least, last_two, "uniform")
    for budget, units, least in ((0.5, [12] * 12, 1), (0.7, [3072] * 12, 154))
]
headline = pruning.PruningMasks.of_quotas(encoder, *quotas)
heads = [10, 9, 11, 10, 10, 11, 10, 10, 11, 10, 9, 10]  # 121, of which 43 in blocks 3, 6, 9, 12
channels = [2918] * 10 + [2913, 2912]  # all that the floor of 5 % allows, then 0.158 of all
extreme = pruning.PruningMasks.of_quotas(encoder, heads, channels)

dense, rows = pruning.encoder_cost(encoder), {}
for name, masks in (("headline", headline), ("extreme", extreme)):
    left = pruning.encoder_cost(encoder, masks)
    counted = pruning.encoder_cost(encoder, masks, rule="operators")
    gone = dense.parameters - left.parameters
    removed = {"% of encoder": gone / dense.parameters, "% of whole model": gone / whole}
    removed |= {"% of FLOPs, formula": 1 - left.flops / dense.flops}
    all_operators = pruning.encoder_cost(encoder, rule="operators").flops
    removed |= {"% of FLOPs, counted": 1 - counted.flops / all_operators}
    rows[name] = {key: 100 * share for key, share in removed.items()}
    rows[name]["GFLOPs left, formula"] = left.flops / 1e9
table = pd.DataFrame(rows)
ledger.record("medcore.headline.params", table.loc["% of encoder", "headline"])
ledger.record("medcore.headline.whole_model", table.loc["% of whole model", "headline"])
ledger.record("medcore.headline.flops", table.loc["% of FLOPs, formula", "headline"])
ledger.record("medcore.flops.operators", table.loc["% of FLOPs, counted", "headline"])
ledger.record("medcore.extreme.params", table.loc["% of encoder", "extreme"])
ledger.record("medcore.extreme.whole_model", table.loc["% of whole model", "extreme"])
ledger.record("medcore.extreme.flops", table.loc["GFLOPs left, formula", "extreme"])
table.round(2)

# %% [markdown]
# *What our counting rule removes at the published budgets.* The parameter counts land on the published {claim}`medcore.headline.params.paper` %
# and {claim}`medcore.extreme.params.paper` %. Four of the twelve blocks are *global*: their heads look at the whole image instead of a
# window of it, and so cost more. Equal quotas take just as many heads from these as the published FLOPs ask for; at the extreme setting we
# had to choose their number. So we know which budgets were probably meant, with three notes in fine print: the percentages are of the
# *encoder*; FLOPs by formula leave out padding, neck and relative positions; and a hit confirms a counting rule, not a method.
#
# ## The cascade and its controls
#
# ViT-B is out of reach of a laptop, so the cascade runs on the small pair of {doc}`/notebooks/03_dual_intervention`, pruned far enough to
# hurt. We repeat everything for several adaptations, each with calibration and test images of its own, and give every method the same
# budget, the same recovery and the same loosely drawn boxes. Two methods get another chance: their kept weights are *re-solved* on the
# calibration images, once without any recovery and once with recovery after it. How that works is the subject of
# {doc}`/notebooks/14_compensated_pruning`.

# %%
methods = {
    "dual (published)": "dual",
    "dual, normalised": "dual_normalised",
    "zero only": "zero",
    "reset only": "reset",
    "magnitude": "magnitude",
    "|Taylor|": "taylor",
    "chance": "random",
}
stages = {"pruned": (0, None), "recovered": (settings.recovery_steps, None)}
resolved = {"re-solved": (0, "reconstruct")}
resolved |= {"re-solved, recovered": (settings.recovery_steps, "reconstruct")}
options = {"learning_rate": settings.recovery_rate}
options |= {"protected_blocks": settings.protected_blocks}


def judged(model: models.Segmenter, masks: pruning.PruningMasks) -> tuple[list, pd.DataFrame]:
    """Logits of the test images, and their scores, one row each."""
    with pruning.masked(model.encoder, masks):
        logits = model.logits(test.images, boxes, batch=8)
    rows = [segmentation_scores(z.numpy() > 0, m) for z, m in zip(logits, test.masks)]
    return logits, pd.DataFrame(rows)


found, kept = {}, {}
for repeat in tqdm(range(settings.adaptation_seeds)):
    pair = models.load_pair(settings, repeat, checkpoint, reference)
    teacher = pair.adapted.to(run.device)
    data = load_pruning_data(settings, polyps, run.seed + repeat)
    test = SegmentationSet.from_samples([s for some in data.test.values() for s in some], "test")
    generator = run.generator(f"repetition {repeat}")
    boxes = boxes_from_masks(test.masks, jitter=settings.box_jitter, generator=generator)
    for label, method in methods.items():
        repaired = resolved if label in ("dual (published)", "chance") else {}
        for stage, (steps, compensation) in (stages | repaired).items():
            result = pruning.cascade(
                teacher, pair.reference.to(run.device), data.calibration, settings.head_budget,
                settings.mlp_budget, method=method, recovery_steps=steps, compensation=compensation,
                seed=repeat, **options,
            )  # fmt: skip
            logits, scores = judged(result.model, result.masks)
            found.setdefault((label, stage), []).append(scores)
            kept[label, stage] = (logits, result)
    pooled = SegmentationSet.from_samples(
        [s for some in data.calibration.values() for s in some], "calibration"
    )
    whole, steps = pruning.PruningMasks.keep_all(teacher.encoder), 2 * settings.recovery_steps
    longer = pruning.recover(
        teacher, teacher, pooled, whole, steps, generator=generator, learning_rate=settings.recovery_rate
    )  # fmt: skip
    for stage, model in (("as adapted", teacher), ("trained as long", longer)):
        kept["dense", stage] = logits, scores = judged(model, whole)
        found.setdefault(("dense", stage), []).append(scores)

bf1 = {key: [scores["boundary_f1"].mean() for scores in some] for key, some in found.items()}
shown = {
    label: {s: bf1[label, s] for s in (*stages, *resolved) if (label, s) in bf1}
    for label in methods
}
controls = {f"dense, {s}": np.mean(bf1["dense", s]) for s in ("as adapted", "trained as long")}
removed = result.stages[-1].removed
print(f"{removed:.1%} of the encoder removed; {len(test)} test images in each repetition")
figure = plotting.plot_arms(shown, controls, "Boundary F1 (with tolerance)")

# %% [markdown]
# *Boundary F1 of every method just after cutting, after recovery, re-solved, and re-solved with recovery after it. Small markers are repetitions, large ones
# their mean; the lines, which nearly coincide, are the dense model as it was and after as many steps of training.* Right after the cut, the scores do not shine
# beside chance. Recovery by training lifts everything, and then chance comes last: what it removed, this much training does not make up for. And the re-solved
# models, which saw no training at all, lie next to the dense one; training them further adds nothing that one could see.
#
# One test image, to see it:

# %%
images, masks = test.images, test.masks
lost = found["dual (published)", "pruned"][-1]["dice"]
number = int(lost.argmin())
panels = {"dense": kept["dense", "as adapted"][0]}
panels |= {f"dual, {s}": kept["dual (published)", s][0] for s in (*stages, "re-solved")}
cases = [
    plotting.Case(label, images[number], {"truth": masks[number], "model": z[number].numpy()})
    for label, z in panels.items()
]
figure = plotting.plot_cases(cases)

# %% [markdown]
# *The test image that suffers most from the cut, in the last repetition.* Now the numbers, and the differences that the claims are about, image by image.

# %%
metrics = {"dice": "Dice", "boundary_f1": "Boundary F1", "hd95": "HD95 (px)"}
table = {key: pd.concat(some)[list(metrics)].mean() for key, some in found.items()}
pd.DataFrame(table).T.rename(columns=metrics).round(3)


# %%
def advantage(first: tuple[str, str], second: tuple[str, str]) -> list[np.ndarray]:
    """Differences of Boundary F1, image by image, one array a repetition."""
    pairs = zip(found[first], found[second])
    return [(a["boundary_f1"] - b["boundary_f1"]).to_numpy() for a, b in pairs]


dual, note = (
    ("dual (published)", "recovered"),
    f"{settings.adaptation_seeds} trained pairs, {removed:.0%} of the encoder removed",
)
differences = {
    "medcore.dual.random": (dual, ("chance", "recovered")),
    "medcore.dual.zero_only": (dual, ("zero only", "recovered")),
    "medcore.dual.dense": (dual, ("dense", "trained as long")),
    "medcore.dual.normalised": (("dual, normalised", "pruned"), ("dual (published)", "pruned")),
    "medcore.resolved.recovered": (("chance", "re-solved"), dual),
}
for claim, pair_of_arms in differences.items():
    title = ledger.current().claims[claim].title
    print(f"{title}: {run.record_clustered(claim, advantage(*pair_of_arms), note)}")

# %% [markdown]
# *First the mean scores over repetitions and images, then the differences of Boundary F1 with their intervals, which redraw trained models first and their
# images after that.* *Against chance*, the score wins after recovery. *Against its own first half*, with the same penalty on variance, the
# difference is zero to the last digit: the published mixture is the zeroing score in all but name ({doc}`/notebooks/03_dual_intervention`), so the second
# intervention never gets to speak. *Against the dense model trained as long* something is lost, a little of Dice and a little more of Boundary F1. *Normalised*,
# so that both interventions are heard, the score does better on average just after the cut, but the interval includes zero, three trained models are few, and
# recovery wipes the difference out. *Against a repair* it has no lead: groups drawn by chance, re-solved on the same images without their masks, cannot be told
# apart from the published score with its recovery.
#
# What this does not test is MedSAM. Its encoder has several hundred times as many parameters, and a difference that does not show here may show there.
# The notebook runs unchanged in the paper profile.
#
# ## Three details
#
# *Rounding.* Quotas are in proportion to one over a block's Fisher information, so that sensitive blocks lose little. But the script rounds and caps
# the quotas once, and hands what the caps refuse to the blocks with the most room left, which are the most sensitive ones ({prf:ref}`ex-quotas`). At
# the published channel budget of 0.7:

# %%
fisher = pruning.boundary_fisher(teacher, pooled)
blocks = pruning.encoder_blocks(teacher.encoder)
sensitivity = pruning.block_sensitivity(blocks, fisher)
units = [block.channels for block in blocks]
least = [round(0.05 * count) for count in units]
quotas = {
    rule: pruning.allocate(sensitivity, 0.7, units, least, rule=rule)
    for rule in ("authors", "waterfill")
}
most_sensitive = int(np.argmax(sensitivity))
excess = quotas["authors"][most_sensitive] - quotas["waterfill"][most_sensitive]
share = 100 * excess / units[most_sensitive]
note = f"tiny pair, the most sensitive of {len(blocks)} blocks, channel budget 0.7"
ledger.record("medcore.rounding.sensitive", share, note=note)
names = [f"block {number + 1}" for number in range(len(blocks))]
rows = {"Fisher information": np.round(sensitivity, 1)}
rows |= {f"channels lost, {rule}": quota for rule, quota in quotas.items()}
pd.DataFrame(rows, index=names).T

# %% [markdown]
# *The Fisher information of each block, large where it is sensitive, and the channels that it loses under the authors' rounding and under water-filling, which
# shares what the caps refuse in the same proportion ({prf:ref}`thm-waterfill`).* The authors' rule takes far more from the most sensitive block.
#
# *Regrowth.* Before its second stage the authors' pilot writes the masks into the weights as zeros, and then trains without masks. An optimiser moves
# whatever has a gradient. *A loud term.* One part of the recovery loss compares spectra; it is neither normalised nor averaged over the
# frequencies that it keeps.

# %%
cut = kept["dual (published)", "pruned"][1]
zeroed = teacher.with_encoder(pruning.baked(teacher.encoder, cut.masks))
trained = pruning.recover(
    zeroed, teacher, pooled, whole, settings.recovery_steps, generator=generator,
    learning_rate=settings.recovery_rate,
)  # fmt: skip
regrown = 100 * pruning.regrown_share(trained.encoder, cut.masks)
ledger.record("medcore.regrowth", regrown, note=f"after {settings.recovery_steps} steps")

ratios = {"authors": [], "normalised": []}
lessons = [pruning.lesson(teacher, sample) for sample in pooled]
with torch.no_grad(), pruning.masked(teacher.encoder, cut.masks):
    for norm, values in ratios.items():
        terms = [pruning.recovery_terms(teacher, lesson, norm) for lesson in lessons]
        values += [float(t.frequency / t.segmentation) for t in terms]
loud = run.record_mean("medcore.frequency.share", ratios["authors"], "start of recovery")
print(f"removed weights that are no longer zero: {regrown:.0f} %")
print(
    f"frequency over segmentation term: {loud}; normalised, {np.mean(ratios['normalised']):.2f}"
)

# %% [markdown]
# Ours keeps the masks on, so that removed weights get no gradient, and normalises the term.
#
# ## What reproduced, and what did not

# %%
run.verdicts()

# %% [markdown]
# **In short.** The published counts can be reproduced to the last digit, one of them only with a number of heads that we chose; the published scores cannot, as
# they belong to a checkpoint that is not published. On our small pairs the cascade beats chance once both have been recovered, its second intervention adds
# nothing, and the dense model with the same extra training stays ahead at the boundary. The published rounding overcharges the most sensitive block, the pilot's
# pruned weights grow back, and one loss term drowns the segmentation loss. Solving for the kept weights after the cut does as much as score and recovery
# together, without labels or training, and it does so even for groups drawn by chance. The next pages ask why, and how far that goes on a real model.
